import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';

/** A port that was free a moment ago, for a server that has to come back to the same one. */
async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Server is the built cmd/presence, PRESENCE_BIN, in a process of its own. */
export class Server {
  static async start(env = {}) {
    const server = new Server();
    server.port = await freePort();
    server.url = `http://127.0.0.1:${server.port}`;
    server.endpoint = `${server.url}/graphql`;
    server.env = env;
    await server.start();
    return server;
  }

  /** Starts it, and reads from what it prints which certificate to trust. */
  async start() {
    const bin = process.env.PRESENCE_BIN;
    if (!bin) throw new Error('PRESENCE_BIN is not set: run this through go test ./web.');
    this.process = spawn(bin, ['serve', '--addr', `127.0.0.1:${this.port}`], {
      env: { ...process.env, PRESENCE_IAM_KEY: 'AKIATEST:secret', ...this.env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.exited = new Promise((resolve) => this.process.once('exit', resolve));
    const lines = createInterface({ input: this.process.stdout });
    await new Promise((resolve, reject) => {
      lines.on('line', (line) => {
        const [, certificate] = /^Certificate\s+(\S+?),/.exec(line) ?? [];
        if (certificate) this.certificate = certificate;
        if (line.startsWith('Redis')) resolve();
      });
      this.exited.then((code) => reject(new Error(`presence exited with ${code}`)));
    });
  }

  /** Ends it as a crash would, or politely. */
  async stop(signal = 'SIGTERM') {
    this.process.kill(signal);
    await this.exited;
  }

  async token(user) {
    return (await (await fetch(`${this.url}/token?user=${encodeURIComponent(user)}`)).text()).trim();
  }

  /** A call as any user, past all client libraries. */
  async call(user, query, variables) {
    const response = await fetch(this.endpoint, {
      method: 'POST',
      headers: { authorization: await this.token(user), 'content-type': 'application/json' },
      body: JSON.stringify({ query, variables }),
    });
    return response.json();
  }
}

/** Resolves to what probe returns once that is truthy. */
export async function eventually(what, probe, limit = 20_000) {
  for (const end = Date.now() + limit; ;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > end) throw new Error(`did not happen within ${limit} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
