import { CONNECT, DISCONNECT, HEARTBEAT } from './operations.ts';
import { onPageChange, shown, type Page } from './page.ts';
import { keepSession, takeSession } from './session.ts';
import { Alarm, backOff, within, type Sleep } from './time.ts';
import type { Client, Presence } from './types.ts';

export interface BeatOptions {
  client: Client;
  endpoint: string;
  token: () => string | Promise<string>;
  page: () => Page | null;
  onAnswer: (presence: Presence) => void;
  onError: (cause: unknown) => void;
}

// Until the server has said otherwise.
const defaultInterval = 30_000;

// How long a page that unloads may take to be followed by the next.
const grace = 5_000;

// Frameworks set the title a little after the URL.
const settle = 200;

// A title may change all the time ("(3) New messages"); it is told this often.
const titleGap = 5_000;

/** Beat keeps the user present: it connects, beats and takes leave. */
export class Beat {
  #session = takeSession();
  #interval = defaultInterval;
  #timeout = 0;
  #failures = 0;
  #token = '';
  /** The page the server has, and when it was told. */
  #told: Page | undefined;
  #toldAt = 0;
  #sending: Promise<void> | undefined;
  #again = false;
  #here = true;
  readonly #alarm: Alarm;
  readonly #unwatch: () => void;

  constructor(
    private readonly options: BeatOptions,
    private readonly sleep: Sleep,
  ) {
    this.#alarm = new Alarm(sleep, () => this.#beat());
    this.#unwatch = onPageChange(() => this.#pageChanged());
    this.#beat();
  }

  /** Beats, or beats again once the answer that is due is in. */
  #beat() {
    if (!this.#here) return;
    if (this.#sending) {
      this.#again = true;
      return;
    }
    this.#again = false;
    this.#alarm.clear();
    const sending = this.#send().finally(() => {
      if (this.#sending !== sending) return;
      this.#sending = undefined;
      if (this.#again) this.#beat();
    });
    this.#sending = sending;
  }

  /** Beats at once, for a moment after which an answer that was due may never come. */
  now() {
    this.#sending = undefined;
    this.#beat();
  }

  /** Beats if it is time, after something that may have held the timer up. */
  check() {
    this.#alarm.check();
  }

  /** The page is unloading, for a reload, the next page or good. */
  hide() {
    if (!this.#here) return;
    this.#here = false;
    this.#alarm.clear();
    keepSession(this.#session.id);
    if (!this.#timeout) return;
    const variables = { sessionId: this.#session.id, graceMs: Math.min(grace, this.#timeout) };
    // The client's own request would end with the page; this one outlives it.
    fetch(this.options.endpoint, {
      method: 'POST',
      keepalive: true,
      headers: { 'content-type': 'application/json', authorization: this.#token },
      body: JSON.stringify({ query: DISCONNECT, variables }),
    }).catch(() => {
      // Nobody is left to hear of it, and the timeout does the same, later.
    });
  }

  /** The page is back from the back-forward cache. */
  show() {
    if (this.#here) return;
    this.#here = true;
    this.#session = takeSession();
    this.#told = undefined;
    this.now();
  }

  /** Ends the session at once. */
  async leave() {
    this.#here = false;
    this.#alarm.clear();
    this.#unwatch();
    await this.#sending;
    await within(this.#limit(), this.sleep, this.options.client.request(DISCONNECT, { sessionId: this.#session.id }));
  }

  #page(): Page {
    return shown(this.options.page() ?? { url: '', title: '' });
  }

  async #send() {
    const page = this.#page();
    const moved = this.#told?.url !== page.url;
    try {
      const { client, token } = this.options;
      const beat = async () => {
        this.#token = await token();
        return client.request<Record<string, Presence>>(moved ? CONNECT : HEARTBEAT, { ...page, sessionId: this.#session.id });
      };
      this.#toldAt = Date.now();
      const presence = Object.values(await within(this.#limit(), this.sleep, beat()))[0]!;
      this.#told = page;
      this.#failures = 0;
      this.#interval = presence.heartbeatIntervalMs;
      this.#timeout = Date.parse(presence.expiresAt ?? '') - Date.parse(presence.lastSeen ?? '') || 0;
      this.options.onAnswer(presence);
      // The leave of the page before may arrive after this connect, and end within
      // its grace a session that is there. A beat before that mends it.
      const soon = this.#session.continued ? grace / 2 : Infinity;
      this.#session.continued = false;
      this.#wait(Math.min(soon, this.#interval * (0.9 + 0.1 * Math.random())));
      this.#pageChanged();
    } catch (cause) {
      this.options.onError(cause);
      // The first tries come quickly, so that several fit into the timeout.
      this.#wait(backOff(++this.#failures, Math.max(250, this.#interval / 15), this.#interval));
    }
  }

  #wait(ms: number) {
    if (this.#here) this.#alarm.set(Date.now() + ms);
  }

  #limit() {
    return Math.min(10_000, Math.max(2_000, this.#interval));
  }

  #pageChanged() {
    if (!this.#here || !this.#told) return;
    const { url, title } = this.#page();
    if (url !== this.#told.url) this.#alarm.setBy(Date.now() + settle);
    else if (title !== this.#told.title) this.#alarm.setBy(Math.max(Date.now() + settle, this.#toldAt + titleGap));
  }
}
