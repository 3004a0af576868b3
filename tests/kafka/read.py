"""Reads everything in a topic with librdkafka, a JSON object per record: its partition, key, headers and value, the bytes as base64."""

import base64
import json
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

TIMEOUT_S = 20

brokers, topic = sys.argv[1:]
consumer = Consumer({"bootstrap.servers": brokers, "group.id": "read-all", "enable.auto.commit": False, "enable.partition.eof": True})
left = set(consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions)
consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in left])


def text(value):
    return None if value is None else base64.b64encode(value).decode()


while left:
    record = consumer.poll(TIMEOUT_S)
    if record is None:
        sys.exit(f"nothing came within {TIMEOUT_S} s, not even the end of the partitions {left}")
    if record.error():
        if record.error().code() != KafkaError._PARTITION_EOF:
            sys.exit(str(record.error()))
        left.discard(record.partition())
        continue
    headers = [[name, text(value)] for name, value in record.headers() or []]
    print(json.dumps({"partition": record.partition(), "key": text(record.key()), "headers": headers, "value": text(record.value())}))
