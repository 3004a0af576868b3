"""Prints what a group has committed in a topic, with librdkafka: a JSON object per partition, with the offset after its last record.

That offset is seen by reading: tansu, asked for it, tells the one after the first record of the last batch."""

import json
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

TIMEOUT_S = 20

brokers, topic, group = sys.argv[1:]
consumer = Consumer({"bootstrap.servers": brokers, "group.id": group, "enable.auto.commit": False, "enable.partition.eof": True})
partitions = list(consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions)
committed = consumer.committed([TopicPartition(topic, partition) for partition in partitions], timeout=TIMEOUT_S)
consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
ends = dict.fromkeys(partitions, 0)
left = set(partitions)
while left:
    record = consumer.poll(TIMEOUT_S)
    if record is None:
        sys.exit(f"nothing came within {TIMEOUT_S} s, not even the end of the partitions {left}")
    if not record.error():
        ends[record.partition()] = record.offset() + 1
    elif record.error().code() == KafkaError._PARTITION_EOF:
        left.discard(record.partition())
    else:
        sys.exit(str(record.error()))
for found in committed:
    print(json.dumps({"partition": found.partition, "committed": max(found.offset, 0), "end": ends[found.partition]}))
