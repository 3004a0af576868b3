// An application as Dapr's documentation writes it, with the official SDK: it subscribes, publishes when it is told to, and
// prints what it hears. node app.mjs <application's port> <sidecar's port>
import { createInterface } from 'node:readline';
import { CommunicationProtocolEnum, DaprClient, DaprServer, DaprPubSubStatusEnum, LogLevel } from '@dapr/dapr';

const [serverPort, daprPort] = process.argv.slice(2);
const daprHost = '127.0.0.1';
const logger = { level: LogLevel.Error };
const communicationProtocol = CommunicationProtocolEnum.HTTP;
const say = (what) => console.log(JSON.stringify(what));

const server = new DaprServer({
  serverHost: daprHost,
  serverPort,
  communicationProtocol,
  logger,
  clientOptions: { daprHost, daprPort, communicationProtocol, logger },
});
let failures = 1;
await server.pubsub.subscribe('pubsub', 'orders', async (data) => {
  say({ heard: data, on: 'orders' });
});
await server.pubsub.subscribeWithOptions('pubsub', 'retried', {
  callback: async (data) => {
    say({ heard: data, on: 'retried' });
    return failures-- > 0 ? DaprPubSubStatusEnum.RETRY : DaprPubSubStatusEnum.SUCCESS;
  },
});
await server.pubsub.subscribeWithOptions('pubsub', 'dropped', {
  callback: async (data) => {
    say({ heard: data, on: 'dropped' });
    return DaprPubSubStatusEnum.DROP;
  },
});
await server.pubsub.subscribeWithOptions('pubsub', 'routed', {
  route: { rules: [{ match: `event.type == "shop.order.placed"`, path: '/placed' }], default: '/other' },
});
server.pubsub.subscribeToRoute('pubsub', 'routed', 'placed', async (data) => say({ heard: data, on: 'routed/placed' }));
server.pubsub.subscribeToRoute('pubsub', 'routed', 'other', async (data) => say({ heard: data, on: 'routed/other' }));
await server.pubsub.subscribeBulk('pubsub', 'bulk', async (data) => say({ heard: data, on: 'bulk' }), {
  maxMessagesCount: 10,
});
await server.start();

const client = new DaprClient({ daprHost, daprPort, communicationProtocol, logger });
await client.start();
say({ ready: await client.health.isHealthy() });

// Each line of the input is a call of the client's.
for await (const line of createInterface({ input: process.stdin })) {
  const { publish, bulk, to, options } = JSON.parse(line);
  if (bulk) {
    const { failedMessages } = await client.pubsub.publishBulk('pubsub', to, bulk);
    say({ published: bulk.length, failed: failedMessages.map(({ message }) => message.event) });
  } else {
    const { error } = await client.pubsub.publish(options?.pubsub ?? 'pubsub', to, publish, options);
    say({ published: 1, error: error ? JSON.parse(JSON.parse(error.message).error_msg).errorCode : null });
  }
}
await client.stop();
await server.stop();
