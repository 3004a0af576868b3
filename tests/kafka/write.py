"""Writes records to a topic with librdkafka: from standard input, a JSON object per record with its key, headers and value, the bytes as base64."""

import base64
import json
import sys

from confluent_kafka import Producer

TIMEOUT_S = 20

brokers, topic, compression = sys.argv[1:]
producer = Producer({"bootstrap.servers": brokers, "acks": "all", "compression.type": compression, "linger.ms": 50})
failed = []


def data(text):
    return None if text is None else base64.b64decode(text)


def delivered(error, _record):
    if error:
        failed.append(str(error))


for line in sys.stdin:
    record = json.loads(line)
    headers = [(name, data(value)) for name, value in record["headers"]]
    producer.produce(topic, key=data(record["key"]), headers=headers, value=data(record["value"]), on_delivery=delivered)
if producer.flush(TIMEOUT_S):
    sys.exit(f"not everything was written within {TIMEOUT_S} s")
if failed:
    sys.exit(failed[0])
