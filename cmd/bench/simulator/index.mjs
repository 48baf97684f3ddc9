// The Amplify CLI's AppSync simulator with an API as ours is to a subscriber of
// connect. Its resolver answers at once: there is no handler and no Redis behind
// it, so what it takes is the simulator's own.
import { AmplifyAppSyncSimulator } from "@aws-amplify/amplify-appsync-simulator";

const simulator = new AmplifyAppSyncSimulator();
await simulator.start();
await simulator.init({
  schema: {
    content: `
      type Presence {
        userId: ID!
        status: String!
        url: String
        title: String
        lastSeen: AWSDateTime
        asOf: AWSDateTime
        expiresAt: AWSDateTime
        heartbeatIntervalMs: Int
        topics: [String!]
      }
      type Query { status(userId: ID!): Presence }
      type Mutation { connect(url: String!, title: String!): Presence }
      type Subscription { onStatus(userId: ID!): Presence @aws_subscribe(mutations: ["connect"]) }
    `,
  },
  appSync: {
    name: "presence",
    apiKey: process.env.API_KEY,
    defaultAuthenticationType: { authenticationType: "API_KEY" },
    additionalAuthenticationProviders: [],
  },
  dataSources: [{
    type: "AWS_LAMBDA",
    name: "function",
    invoke: ({ url, title }) => {
      const now = new Date().toISOString();
      return { userId: "alice", status: "online", url, title, lastSeen: now, asOf: now, expiresAt: now, heartbeatIntervalMs: 30000, topics: ["user:alice"] };
    },
  }],
  resolvers: [{
    kind: "UNIT",
    typeName: "Mutation",
    fieldName: "connect",
    dataSourceName: "function",
    requestMappingTemplate: `{"version": "2018-05-29", "operation": "Invoke", "payload": $util.toJson($context.arguments)}`,
    responseMappingTemplate: "$util.toJson($context.result)",
  }],
});
console.log(`${simulator.localhostUrl}/graphql`);
