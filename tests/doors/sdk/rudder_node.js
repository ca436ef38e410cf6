// One message of each kind through @rudderstack/rudder-sdk-node: ADDRESS KEY.
const { createRequire } = require('node:module');
const Analytics = createRequire(`${process.cwd()}/`)('@rudderstack/rudder-sdk-node');

const [address, writeKey] = process.argv.slice(2);
const failures = [];
const analytics = new Analytics(writeKey, {
  dataPlaneUrl: address,
  retryCount: 1,
  flushInterval: 50,
  errorHandler: (error) => failures.push(error),
});
const at = (second) => new Date(Date.UTC(2026, 2, 1, 12, 0, second));

const messages = [
  ['identify', { userId: 'u1', anonymousId: 'a1', traits: { plan: 'pro', seats: 5 }, timestamp: at(1), messageId: 'm1' }],
  ['track', {
    userId: 'u1',
    event: 'Order Completed',
    properties: { total: 99.5, items: 3, coupon: null, gift: true, tags: ['ü', 'b'], deep: { a: { b: 1 } } },
    context: { ip: '203.0.113.7', groupId: 'acme' },
    integrations: { All: false },
    timestamp: at(2),
    messageId: 'm2',
  }],
  ['page', { userId: 'u1', category: 'Docs', name: 'Pricing', properties: { path: '/pricing' }, timestamp: at(3), messageId: 'm3' }],
  ['screen', { userId: 'u1', name: 'Home', properties: { tab: 'one' }, timestamp: at(4), messageId: 'm4' }],
  ['group', { userId: 'u1', groupId: 'acme', traits: { industry: 'rockets' }, timestamp: at(5), messageId: 'm5' }],
  ['alias', { userId: 'u1', previousId: 'old-1', timestamp: at(6), messageId: 'm6' }],
];
let waiting = messages.length;
for (const [kind, message] of messages) {
  analytics[kind](message, (error) => {
    if (error) failures.push(error);
    waiting -= 1;
    if (waiting === 0) {
      for (const failure of failures) console.error(failure);
      process.exit(failures.length);
    }
  });
}
