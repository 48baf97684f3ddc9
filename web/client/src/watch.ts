import { MAX_STATUSES, ON_STATUS, STATUSES } from './operations.ts';
import { Alarm, backOff, within, type Sleep } from './time.ts';
import type { Client, Person, Presence } from './types.ts';

/** The people of one watch, in the order asked; who is not known yet is not in it. */
export type People = ReadonlyMap<string, Person>;

interface Watch {
  userIds: readonly string[];
  onChange: (people: People) => void;
  changed: boolean;
}

interface Entry {
  userId: string;
  watches: Set<Watch>;
  presence?: Presence;
  /** When presence expires, by this machine's clock. */
  expires: number;
  /** The subscription is accepted; live is that, and the server has answered since. */
  accepted: boolean;
  live: boolean;
  stale: boolean;
  failures: number;
  close: () => void;
}

// Answers to subscriptions come in a row; their users are asked for together.
const collect = 100;

// A subscription that takes longer is not waited for with the first question.
const patience = 3_000;

// Expired people are asked about at most this often, and everybody who saw the
// same event would ask at the same moment: the spread keeps them apart.
const requeryGap = 60_000;
const requerySpread = 10_000;

const retryFirst = 2_000;
const retryMost = 60_000;
const answerLimit = 15_000;

/**
 * Watcher knows how people are. Each user is subscribed to once, however many
 * watches there are of them. Subscriptions may lose messages, so it asks as well:
 * whenever a subscription is accepted, and once people have expired.
 */
export class Watcher {
  readonly #entries = new Map<string, Entry>();
  readonly #wanted = new Set<string>();
  readonly #ask: Alarm;
  readonly #tick: Alarm;
  #failures = 0;
  #asked = -Infinity;
  #requeryAt = Infinity;
  #suspended = false;
  #notifying = false;

  constructor(
    private readonly client: Client,
    private readonly sleep: Sleep,
    private readonly onError: (cause: unknown) => void,
  ) {
    this.#ask = new Alarm(sleep, () => void this.#query());
    this.#tick = new Alarm(sleep, () => this.refresh());
  }

  watch(userIds: readonly string[], onChange: (people: People) => void): () => void {
    const watch: Watch = { userIds: [...new Set(userIds)], onChange, changed: false };
    for (const userId of watch.userIds) {
      let entry = this.#entries.get(userId);
      if (!entry) {
        entry = { userId, watches: new Set(), expires: Infinity, accepted: false, live: false, stale: true, failures: 0, close: () => {} };
        this.#entries.set(userId, entry);
        if (!this.#suspended) this.#subscribe(entry);
      }
      entry.watches.add(watch);
      if (entry.presence) this.#changed(entry);
    }
    return () => {
      for (const userId of watch.userIds) {
        const entry = this.#entries.get(userId);
        if (!entry?.watches.delete(watch) || entry.watches.size) continue;
        this.#entries.delete(userId);
        entry.close();
      }
    };
  }

  /** Takes what is known of a user from anywhere, unless something newer is known. */
  offer(presence: Presence) {
    const entry = this.#entries.get(presence.userId);
    // A mutation that selected too few fields says nothing; the server follows it up.
    if (!entry || !presence.asOf || !presence.status) return;
    if (entry.presence && presence.asOf < entry.presence.asOf) return;
    entry.presence = presence;
    // The two times are the server's and their difference is not, so that the
    // clocks need not agree.
    entry.expires = presence.expiresAt ? Date.now() + Date.parse(presence.expiresAt) - Date.parse(presence.asOf) : Infinity;
    this.#changed(entry);
    this.refresh();
  }

  /**
   * Marks who has become stale, asks about them when it is time, and sets the
   * next time to look. The spread is how long the asking may be put off.
   */
  refresh(spread = requerySpread) {
    const now = Date.now();
    let next = Infinity;
    let stale = false;
    for (const entry of this.#entries.values()) {
      const was = entry.stale;
      entry.stale = !entry.live || now >= entry.expires;
      if (entry.stale !== was) this.#changed(entry);
      if (entry.stale) stale = true;
      else next = Math.min(next, entry.expires);
    }
    if (!stale) {
      this.#requeryAt = Infinity;
    } else if (!document.hidden && !this.#suspended) {
      this.#requeryAt = Math.min(this.#requeryAt, Math.max(now, this.#asked + requeryGap) + spread * Math.random());
      if (now >= this.#requeryAt) {
        this.#requeryAt = Infinity;
        // Who is about to expire goes along, or would wait for the next turn.
        for (const entry of this.#entries.values()) {
          if (entry.stale || entry.expires < now + requeryGap + requerySpread) this.#want(entry);
        }
      } else {
        next = Math.min(next, this.#requeryAt);
      }
    }
    this.#tick.set(next);
  }

  /** Ends the subscriptions for a page that goes into the back-forward cache. */
  suspend() {
    this.#suspended = true;
    for (const entry of this.#entries.values()) {
      entry.close();
      entry.accepted = entry.live = false;
    }
    this.refresh();
  }

  /** Subscribes again, which asks again. */
  resume() {
    if (!this.#suspended) return;
    this.#suspended = false;
    for (const entry of this.#entries.values()) this.#subscribe(entry);
  }

  /** Ends every watch. */
  close() {
    for (const entry of this.#entries.values()) entry.close();
    this.#entries.clear();
    this.#wanted.clear();
    this.#ask.clear();
    this.#tick.clear();
  }

  #subscribe(entry: Entry) {
    let open = true;
    const stop = this.client.subscribe<{ onStatus: Presence | null }>(
      ON_STATUS,
      { userId: entry.userId },
      {
        ready: () => {
          if (!open) return;
          entry.failures = 0;
          entry.accepted = true;
          this.#want(entry);
        },
        next: (data) => {
          if (open && data.onStatus) this.offer(data.onStatus);
        },
        lost: () => {
          if (!open) return;
          entry.accepted = entry.live = false;
          this.refresh();
        },
        error: (cause) => {
          if (!open) return;
          open = false;
          entry.accepted = entry.live = false;
          this.onError(cause);
          this.refresh();
          const again = new Alarm(this.sleep, () => this.#subscribe(entry));
          again.set(Date.now() + backOff(++entry.failures, retryFirst, retryMost));
          entry.close = () => again.clear();
        },
      },
    );
    // A client may fail before it returns, and then there is another try to close.
    if (!open) return;
    const first = new Alarm(this.sleep, () => {
      if (!entry.presence) this.#want(entry);
    });
    first.set(Date.now() + patience);
    entry.close = () => {
      open = false;
      first.clear();
      stop();
    };
  }

  #want(entry: Entry) {
    this.#wanted.add(entry.userId);
    this.#ask.setBy(Date.now() + collect);
  }

  async #query() {
    const userIds = [...this.#wanted].filter((userId) => this.#entries.has(userId));
    this.#wanted.clear();
    if (!userIds.length) return;
    this.#asked = Date.now();
    const chunks = [];
    for (let i = 0; i < userIds.length; i += MAX_STATUSES) chunks.push(userIds.slice(i, i + MAX_STATUSES));
    await Promise.all(
      chunks.map(async (chunk) => {
        try {
          const answer = this.client.request<{ statuses: Presence[] }>(STATUSES, { userIds: chunk });
          const { statuses } = await within(answerLimit, this.sleep, answer);
          this.#failures = 0;
          for (const userId of chunk) {
            const entry = this.#entries.get(userId);
            if (entry) entry.live = entry.accepted;
          }
          for (const presence of statuses) this.offer(presence);
          this.refresh();
        } catch (cause) {
          this.onError(cause);
          for (const userId of chunk) this.#wanted.add(userId);
          this.#ask.setBy(Date.now() + backOff(++this.#failures, retryFirst, retryMost));
        }
      }),
    );
  }

  /** Tells the entry's watches, all changes of one turn together. */
  #changed(entry: Entry) {
    for (const watch of entry.watches) watch.changed = true;
    if (this.#notifying) return;
    this.#notifying = true;
    queueMicrotask(() => {
      this.#notifying = false;
      const watches = new Set([...this.#entries.values()].flatMap((entry) => [...entry.watches]));
      for (const watch of watches) {
        if (!watch.changed) continue;
        watch.changed = false;
        watch.onChange(this.#people(watch));
      }
    });
  }

  #people({ userIds }: Watch): People {
    const people = new Map<string, Person>();
    for (const userId of userIds) {
      const entry = this.#entries.get(userId);
      if (entry?.presence) people.set(userId, { ...entry.presence, stale: entry.stale });
    }
    return people;
  }
}
