import { backOff } from './time.ts';
import type { Client, Observer } from './types.ts';

export interface AppSyncOptions {
  /** The GraphQL endpoint, as AppSync shows it. */
  endpoint: string;
  /** The signed-in user's JWT. It is called for every request and subscription. */
  token: () => string | Promise<string>;
  /** Sees everything that goes over the wire. */
  onWire?: (event: WireEvent) => void;
  fetch?: typeof fetch;
  WebSocket?: typeof WebSocket;
}

/** One message between client and server. */
export interface WireEvent {
  over: 'http' | 'socket';
  direction: 'out' | 'in';
  /** The operation or the frame's type. */
  name: string;
  message: unknown;
  /** For an answer over HTTP, the milliseconds it took. */
  ms?: number;
}

/** A GraphQL response. */
export interface Result<T = unknown> {
  data?: T | null;
  errors?: { message: string; errorType?: string }[];
}

/** A {@link Client} on nothing but the platform. */
export interface AppSyncClient extends Client {
  /** Sends any query or mutation and resolves to the whole response, errors too. It rejects where there is none. */
  execute<T>(document: string, variables?: Record<string, unknown>, operationName?: string): Promise<Result<T>>;
}

/** The errors of a response, thrown. */
export class AppSyncError extends Error {
  override name = 'AppSyncError';
  constructor(readonly errors: { message?: string; errorType?: string; errorCode?: number }[]) {
    super(errors.map((e) => e.message ?? e.errorType ?? 'Unknown error').join(' '));
  }
}

interface Frame {
  type: string;
  id?: string;
  payload?: { data?: unknown; errors?: AppSyncError['errors'] };
}

interface Subscription {
  id: string;
  data: string;
  observer: Observer<any>;
  startTimer?: ReturnType<typeof setTimeout>;
}

const ackLimit = 15_000;

// AppSync sends a keep-alive every 60 s and gives itself 300; two missed are enough.
const silenceLimit = 130_000;

// Addresses of AppSync itself have their own host for real-time connections;
// custom domains have a path.
const awsHost = /^https:\/\/(\w{26})\.appsync-api\.([\w-]+\.amazonaws\.com(?:\.cn)?)\/graphql$/;

/** The real-time endpoint that belongs to a GraphQL endpoint. */
export function realtimeURL(endpoint: string): string {
  const aws = awsHost.exec(endpoint);
  if (aws) return `wss://${aws[1]}.appsync-realtime-api.${aws[2]}/graphql`;
  return `${endpoint.replace(/^http/, 'ws')}/realtime`;
}

const operation = (document: string) => /^\s*(?:query|mutation|subscription)\s+(\w+)/.exec(document)?.[1] ?? 'query';

const base64url = (text: string) => btoa(text).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

/**
 * createAppSyncClient makes a client that authenticates with a JWT and keeps
 * all subscriptions on one WebSocket, which it restores by itself.
 */
export function createAppSyncClient(options: AppSyncOptions): AppSyncClient {
  const { endpoint, token, onWire = () => {} } = options;
  const doFetch = options.fetch ?? fetch.bind(globalThis);
  const socket = new Socket(options);

  const execute = async <T>(query: string, variables: Record<string, unknown> = {}, operationName?: string) => {
    const authorization = await token();
    const name = operationName ?? operation(query);
    onWire({ over: 'http', direction: 'out', name, message: variables });
    const start = performance.now();
    const response = await doFetch(endpoint, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization },
      body: JSON.stringify({ query, variables, operationName }),
    });
    const result = (await response.json()) as Result<T>;
    onWire({ over: 'http', direction: 'in', name, message: result, ms: performance.now() - start });
    return result;
  };

  return {
    execute,
    async request<T>(document: string, variables: Record<string, unknown>) {
      const { data, errors } = await execute<T>(document, variables);
      if (errors?.length) throw new AppSyncError(errors);
      return data as T;
    },
    subscribe: (document, variables, observer) => socket.subscribe(document, variables, observer),
  };
}

class Socket {
  readonly #subscriptions = new Map<string, Subscription>();
  #socket: WebSocket | undefined;
  #acked = false;
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #last = 0;

  constructor(private readonly options: AppSyncOptions) {
    // A connection does not survive a change of network, and takes long to say so.
    addEventListener('online', () => {
      this.#failures = 0;
      this.#lost();
    });
  }

  subscribe(query: string, variables: Record<string, unknown>, observer: Observer<any>): () => void {
    const id = String(++this.#last);
    const subscription: Subscription = { id, data: JSON.stringify({ query, variables }), observer };
    this.#subscriptions.set(id, subscription);
    if (this.#acked) void this.#start(subscription);
    else if (!this.#socket && !this.#timer) void this.#open();
    return () => {
      if (!this.#drop(subscription)) return;
      if (this.#acked) this.#send({ type: 'stop', id });
      // Another subscription may follow in the same turn.
      queueMicrotask(() => {
        if (!this.#subscriptions.size) this.#close();
      });
    };
  }

  async #authorization() {
    return { Authorization: await this.options.token(), host: new URL(this.options.endpoint).host };
  }

  async #open() {
    // While a token is fetched there is no socket yet, but one is on its way.
    this.#timer = setTimeout(() => this.#lost(), ackLimit);
    const opening = this.#timer;
    let socket: WebSocket;
    try {
      const header = base64url(JSON.stringify(await this.#authorization()));
      if (this.#timer !== opening) return;
      socket = new (this.options.WebSocket ?? WebSocket)(realtimeURL(this.options.endpoint), ['graphql-ws', `header-${header}`]);
    } catch (cause) {
      if (this.#timer !== opening) return;
      this.#close();
      for (const subscription of [...this.#subscriptions.values()]) this.#fail(subscription, cause);
      return;
    }
    this.#socket = socket;
    socket.onopen = () => this.#send({ type: 'connection_init' });
    socket.onclose = () => {
      if (this.#socket === socket) this.#lost();
    };
    socket.onmessage = (event: MessageEvent<string>) => {
      if (this.#socket !== socket) return;
      const frame = JSON.parse(event.data) as Frame;
      this.#wire('in', frame);
      this.#receive(frame);
    };
  }

  #receive({ type, id, payload }: Frame) {
    if (this.#acked) this.#watchdog();
    const subscription = this.#subscriptions.get(id ?? '');
    switch (type) {
      case 'connection_ack':
        this.#acked = true;
        this.#failures = 0;
        this.#watchdog();
        for (const subscription of this.#subscriptions.values()) void this.#start(subscription);
        break;
      case 'connection_error':
        // Whoever subscribed decides whether to try again: the token may be bad.
        this.#close();
        for (const subscription of [...this.#subscriptions.values()]) this.#fail(subscription, new AppSyncError(payload?.errors ?? []));
        break;
      case 'start_ack':
        if (!subscription) break;
        clearTimeout(subscription.startTimer);
        subscription.observer.ready();
        break;
      case 'data':
        subscription?.observer.next(payload?.data ?? {});
        break;
      case 'error':
      case 'complete':
        if (subscription) this.#fail(subscription, new AppSyncError(payload?.errors ?? [{ message: 'The subscription was completed.' }]));
        break;
    }
  }

  async #start(subscription: Subscription) {
    const socket = this.#socket;
    try {
      const authorization = await this.#authorization();
      if (socket !== this.#socket || !this.#subscriptions.has(subscription.id)) return;
      subscription.startTimer = setTimeout(() => this.#lost(), ackLimit);
      this.#send({ type: 'start', id: subscription.id, payload: { data: subscription.data, extensions: { authorization } } });
    } catch (cause) {
      this.#fail(subscription, cause);
    }
  }

  #fail(subscription: Subscription, cause: unknown) {
    if (this.#drop(subscription)) subscription.observer.error(cause);
  }

  /** Forgets a subscription, and tells whether it was there. */
  #drop(subscription: Subscription) {
    clearTimeout(subscription.startTimer);
    return this.#subscriptions.delete(subscription.id);
  }

  #watchdog() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#lost(), silenceLimit);
  }

  /** The connection is gone, or as good as: a new one is tried. */
  #lost() {
    this.#close();
    if (!this.#subscriptions.size) return;
    this.#timer = setTimeout(() => void this.#open(), backOff(++this.#failures, 500, 30_000));
    for (const { observer } of [...this.#subscriptions.values()]) observer.lost();
  }

  #close() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#acked = false;
    for (const { startTimer } of this.#subscriptions.values()) clearTimeout(startTimer);
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close(1000);
  }

  #send(frame: object) {
    this.#wire('out', frame as Frame);
    this.#socket?.send(JSON.stringify(frame));
  }

  #wire(direction: WireEvent['direction'], frame: Frame) {
    this.options.onWire?.({ over: 'socket', direction, name: frame.type, message: frame });
  }
}
