import { expect, test, vi } from 'vitest';
import { fromAmplify, fromApollo } from '../src/index.ts';
import { ON_PRESENCE } from '../src/operations.ts';

function observer() {
  const log: unknown[] = [];
  return {
    log,
    ready: () => log.push('ready'),
    next: (data: unknown) => log.push(data),
    lost: () => log.push('lost'),
    error: (cause: unknown) => log.push(String(cause)),
  };
}

/** A source of messages that counts who is listening. */
function source() {
  const observers = new Set<any>();
  return {
    observers,
    emit: (kind: 'next' | 'error' | 'complete', value?: unknown) => [...observers].forEach((o) => o[kind](value)),
    subscribe(o: unknown) {
      observers.add(o);
      return { unsubscribe: () => observers.delete(o) };
    },
  };
}

function amplify() {
  const messages = source();
  const listeners = new Set<(capsule: any) => void>();
  const client = fromAmplify(
    { graphql: ({ query }) => (query.startsWith('subscription') ? messages : Promise.resolve({ data: { answered: query } })) },
    {
      listen(_channel, callback) {
        listeners.add(callback);
        return () => listeners.delete(callback);
      },
    },
  );
  const say = (event: string, data: unknown) => [...listeners].forEach((listener) => listener({ payload: { event, data } }));
  return { client, messages, listeners, say };
}

test('Amplify: a request resolves to the data', async () => {
  await expect(amplify().client.request('query', {})).resolves.toEqual({ answered: 'query' });
});

test('Amplify: the Hub tells of acceptance and loss', () => {
  const { client, messages, say, listeners } = amplify();
  const one = observer();
  const end = client.subscribe(ON_PRESENCE, { watch: { userIds: ['bob'] } }, one);
  say('Subscription ack', { query: ON_PRESENCE, variables: { watch: { userIds: ['carol'] } } });
  // What happens to a socket before the acceptance is no loss.
  say('ConnectionStateChange', { connectionState: 'ConnectionDisrupted' });
  expect(one.log).toEqual([]);
  say('Subscription ack', { query: ON_PRESENCE, variables: { watch: { userIds: ['bob'] } } });
  messages.emit('next', { data: { onPresence: null } });
  say('ConnectionStateChange', { connectionState: 'ConnectionDisrupted' });
  say('ConnectionStateChange', { connectionState: 'ConnectionDisruptedPendingNetwork' });
  say('ConnectionStateChange', { connectionState: 'Connected' });
  say('Subscription ack', { query: ON_PRESENCE, variables: { watch: { userIds: ['bob'] } } });
  expect(one.log).toEqual(['ready', { onPresence: null }, 'lost', 'ready']);
  end();
  expect([messages.observers.size, listeners.size]).toEqual([0, 0]);
});

test('Amplify: a missing keep-alive ends the subscription, for another to be made', () => {
  const { client, messages, say, listeners } = amplify();
  const one = observer();
  client.subscribe(ON_PRESENCE, { watch: { userIds: ['bob'] } }, one);
  say('ConnectionStateChange', { connectionState: 'ConnectedPendingKeepAlive' });
  messages.emit('error', new Error('late'));
  expect(one.log).toEqual(['Error: A keep-alive is missing.']);
  expect([messages.observers.size, listeners.size]).toEqual([0, 0]);
});

test.each(['error', 'complete'] as const)('Amplify: %s ends the subscription', (kind) => {
  const { client, messages } = amplify();
  const one = observer();
  client.subscribe(ON_PRESENCE, { watch: { userIds: ['bob'] } }, one);
  messages.emit(kind, new Error('refused'));
  expect(one.log).toHaveLength(1);
});

function apollo() {
  const messages = source();
  const asked: any[] = [];
  const client = fromApollo<string>(
    {
      query: async (options) => (asked.push(options), { data: 'queried' }),
      mutate: async (options) => (asked.push(options), { data: 'mutated' }),
      subscribe: (options) => (asked.push(options), messages),
    },
    (text) => `parsed ${text}`,
  );
  return { client, messages, asked };
}

test('Apollo: requests go by their kind, and past the cache', async () => {
  const { client, asked } = apollo();
  await expect(client.request('query A', {})).resolves.toBe('queried');
  await expect(client.request('mutation B', {})).resolves.toBe('mutated');
  expect(asked).toMatchObject([
    { query: 'parsed query A', fetchPolicy: 'no-cache' },
    { mutation: 'parsed mutation B', fetchPolicy: 'no-cache' },
  ]);
});

test('Apollo: the link’s own message tells of acceptance', () => {
  const { client, messages } = apollo();
  const one = observer();
  const end = client.subscribe(ON_PRESENCE, { watch: { userIds: ['bob'] } }, one);
  messages.emit('next', { extensions: { controlMsgType: 'CONNECTED' } });
  messages.emit('next', { data: { onPresence: null } });
  expect(one.log).toEqual(['ready', { onPresence: null }]);
  end();
  messages.emit('next', { data: { onPresence: null } });
  expect(one.log).toHaveLength(2);
  expect(messages.observers.size).toBe(0);
});

test('Apollo: where the link’s own message is swallowed acceptance is assumed, until the link gives up', async () => {
  vi.useFakeTimers();
  try {
    const { client, messages } = apollo();
    const one = observer();
    client.subscribe(ON_PRESENCE, { watch: { userIds: ['bob'] } }, one);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(one.log).toEqual(['ready', 'ready']);
    for (const outcome of ['told', 'failed'] as const) {
      const other = observer();
      client.subscribe(ON_PRESENCE, { watch: { userIds: ['bob'] } }, other);
      if (outcome === 'told') messages.emit('next', { extensions: { controlMsgType: 'CONNECTED' } });
      else messages.emit('error', 'closed');
      await vi.advanceTimersByTimeAsync(60_000);
      expect(other.log).toEqual([outcome === 'told' ? 'ready' : 'closed']);
    }
  } finally {
    vi.useRealTimers();
  }
});

test.each([
  ['error', new Error('closed')],
  ['complete', undefined],
  ['next', { error: new Error('refused') }],
] as const)('Apollo: %s ends the subscription', (kind, value) => {
  const { client, messages } = apollo();
  const one = observer();
  client.subscribe(ON_PRESENCE, { watch: { userIds: ['bob'] } }, one);
  messages.emit(kind, value);
  messages.emit('error', new Error('again'));
  expect(one.log).toHaveLength(1);
});
