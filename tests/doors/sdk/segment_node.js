// One message of each kind through @segment/analytics-node: ADDRESS KEY.
const { createRequire } = require('node:module');
const { Analytics } = createRequire(`${process.cwd()}/`)('@segment/analytics-node');

const [address, writeKey] = process.argv.slice(2);
const analytics = new Analytics({ writeKey, host: address, maxRetries: 1, flushInterval: 50 });
const failures = [];
analytics.on('error', (error) => failures.push(error));
const at = (second) => new Date(Date.UTC(2026, 2, 1, 12, 0, second));

analytics.identify({ userId: 'u1', anonymousId: 'a1', traits: { plan: 'pro', seats: 5 }, timestamp: at(1), messageId: 'm1' });
analytics.track({
  userId: 'u1',
  event: 'Order Completed',
  properties: { total: 99.5, items: 3, coupon: null, gift: true, tags: ['ü', 'b'], deep: { a: { b: 1 } } },
  context: { ip: '203.0.113.7', groupId: 'acme' },
  integrations: { All: false },
  timestamp: at(2),
  messageId: 'm2',
});
analytics.page({ userId: 'u1', category: 'Docs', name: 'Pricing', properties: { path: '/pricing' }, timestamp: at(3), messageId: 'm3' });
analytics.screen({ userId: 'u1', name: 'Home', properties: { tab: 'one' }, timestamp: at(4), messageId: 'm4' });
analytics.group({ userId: 'u1', groupId: 'acme', traits: { industry: 'rockets' }, timestamp: at(5), messageId: 'm5' });
analytics.alias({ userId: 'u1', previousId: 'old-1', timestamp: at(6), messageId: 'm6' });
analytics.closeAndFlush().then(() => {
  for (const failure of failures) console.error(failure);
  process.exitCode = failures.length;
});
