import type { Client, Observer, PresenceState } from '../src/index.ts';

export const interval = 30_000;
export const timeout = 75_000;

const iso = (at: number) => new Date(at).toISOString();

/** A Presence as the server answers it. */
export function online(userId: string, { at = Date.now(), url = 'https://app.example/start', title = '' } = {}): PresenceState {
  return {
    userId,
    status: 'online',
    url,
    title,
    lastSeen: iso(at),
    asOf: iso(at),
    expiresAt: iso(at + timeout),
    heartbeatIntervalMs: interval,
  };
}

export function offline(userId: string, at = Date.now()): PresenceState {
  return {
    userId,
    status: 'offline',
    url: null,
    title: null,
    lastSeen: iso(at),
    asOf: iso(at),
    expiresAt: null,
    heartbeatIntervalMs: interval,
  };
}

interface Call {
  field: string;
  variables: any;
  at: number;
}

/** A subscription that a test speaks through. */
export interface FakeSubscription extends Observer<{ onPresence: PresenceState | null }> {
  userIds: string[];
  open: boolean;
}

/** FakeClient is an API of one user, me, on which everybody is online unless a test says otherwise. */
export class FakeClient implements Client {
  calls: Call[] = [];
  subscriptions: FakeSubscription[] = [];
  /** Set to fail, or to hold, what comes next. */
  onRequest: (call: Call) => unknown = () => undefined;
  people = new Map<string, () => PresenceState>();
  autoReady = true;

  async request<T>(document: string, variables: Record<string, unknown>): Promise<T> {
    const field = /\{ (\w+)/.exec(document)![1]!;
    const call = { field, variables, at: Date.now() };
    this.calls.push(call);
    const override = await this.onRequest(call);
    if (override !== undefined) return override as T;
    if (field === 'statuses')
      return { statuses: (variables['userIds'] as string[]).map((id) => this.people.get(id)?.() ?? online(id)) } as T;
    if (field === 'disconnect') return { disconnect: offline('me') } as T;
    return { [field]: online('me', { url: variables['url'] as string, title: variables['title'] as string }) } as T;
  }

  subscribe<T>(_document: string, variables: Record<string, unknown>, observer: Observer<T>): () => void {
    const subscription: FakeSubscription = {
      userIds: (variables['watch'] as { userIds: string[] }).userIds,
      open: true,
      ready: () => observer.ready(),
      next: (data) => observer.next(data as T),
      lost: () => observer.lost(),
      error: (cause) => {
        subscription.open = false;
        observer.error(cause);
      },
    };
    this.subscriptions.push(subscription);
    if (this.autoReady) queueMicrotask(() => subscription.open && subscription.ready());
    return () => {
      subscription.open = false;
    };
  }

  fields() {
    return this.calls.map((call) => call.field);
  }

  named(field: string) {
    return this.calls.filter((call) => call.field === field);
  }

  /** The last open subscription to a user. */
  to(userId: string): FakeSubscription {
    const found = this.open()
      .filter((s) => s.userIds.includes(userId))
      .at(-1);
    if (!found) throw new Error(`nobody is subscribed to ${userId}`);
    return found;
  }

  open() {
    return this.subscriptions.filter((s) => s.open);
  }

  /** Tells watchers of a change. */
  tell(presence: PresenceState) {
    for (const s of this.open()) if (s.userIds.includes(presence.userId)) s.next({ onPresence: presence });
  }
}
