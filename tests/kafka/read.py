"""Reads everything in a topic with librdkafka, a JSON object per record: its partition, key, headers and value, the bytes as base64."""

import base64
import json
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

TIMEOUT_S = 20

brokers, topic = sys.argv[1:]
consumer = Consumer({"bootstrap.servers": brokers, "group.id": "read-all", "enable.auto.commit": False})
partitions = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions
ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=TIMEOUT_S)[1] for p in partitions}
left = {p for p, end in ends.items() if end > 0}
consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in left])


def text(value):
    return None if value is None else base64.b64encode(value).decode()


while left:
    record = consumer.poll(TIMEOUT_S)
    if record is None:
        sys.exit(f"nothing came within {TIMEOUT_S} s, and there should be more in the partitions {left}")
    if record.error():
        sys.exit(str(record.error()))
    headers = [[name, text(value)] for name, value in record.headers() or []]
    print(json.dumps({"partition": record.partition(), "key": text(record.key()), "headers": headers, "value": text(record.value())}))
    if record.offset() + 1 >= ends[record.partition()]:
        left.discard(record.partition())
