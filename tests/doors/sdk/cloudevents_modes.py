"""One event in each content mode, made by the CloudEvents SDK: ADDRESS KEY."""

import sys
from datetime import datetime, timezone

import requests
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

address, key = sys.argv[1:]
session = requests.Session()
session.trust_env = False


def event(number, data, **attributes):
    return CloudEvent(
        {
            "id": f"e{number}",
            "source": "/billing/eu",
            "type": "com.example.invoice.paid",
            "time": datetime(2026, 3, 1, 12, 0, number, tzinfo=timezone.utc),
            "datacontenttype": "application/json",
            **attributes,
        },
        data,
    )


def send(headers, body):
    answer = session.post(
        address + "/v1/cloudevents",
        data=body,
        headers={**headers, "authorization": f"Bearer {key}"},
        timeout=20,
    )
    assert answer.status_code == 200, (answer.status_code, answer.text)
    print(answer.text)


structured = to_structured_event(event(1, {"amount": 12.5, "paid": True}, subject="u1", partner="Zoë"))
send(structured.headers, structured.body)
binary = to_binary_event(event(2, {"amount": 3}, subject="Zoë & Söhne", accountid="acme", sequence="7"))
send(binary.headers, binary.body)
batch = [to_structured_event(event(number, {"amount": number}, subject="u1")).body for number in (3, 4)]
send({"content-type": "application/cloudevents-batch+json"}, b"[" + b",".join(batch) + b"]")
