/** Network is the page's way out, which the visitor can cut. */
export class Network {
  /** No heartbeat gets out. */
  held = false;
  #down = false;
  readonly #sockets = new Set<WebSocket>();

  get down() {
    return this.#down;
  }

  set down(down: boolean) {
    this.#down = down;
    if (down) for (const socket of this.#sockets) socket.close();
  }

  readonly fetch: typeof fetch = (input, init) => {
    if (this.#down) return Promise.reject(new TypeError('You have dropped the connection.'));
    const beats = typeof init?.body === 'string' && /^\{"query":"mutation (Connect|Heartbeat)/.test(init.body);
    if (this.held && beats) return Promise.reject(new TypeError('You hold your heartbeats.'));
    return fetch(input, init);
  };

  readonly WebSocket: typeof WebSocket;

  constructor() {
    const network = this;
    this.WebSocket = class extends WebSocket {
      constructor(url: string | URL, protocols?: string | string[]) {
        super(url, protocols);
        network.#sockets.add(this);
        this.addEventListener('close', () => network.#sockets.delete(this));
        if (network.#down) this.close();
      }
    };
  }
}
