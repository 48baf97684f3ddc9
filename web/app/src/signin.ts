import { createAppSyncClient, type AppSyncOptions } from 'presence-client';

/** The GraphQL endpoint of the server this page is from. */
export const endpoint = new URL('/graphql', location.href).href;

/** A function that returns a token for user from the local issuer, and a new one before the old expires. */
export function tokenFor(user: string): () => Promise<string> {
  let token: Promise<string> | undefined;
  let renewAt = 0;
  const renew = async () => {
    const response = await fetch(`/token?user=${encodeURIComponent(user)}`);
    if (!response.ok) throw new Error(`No token for ${user}: ${(await response.text()).trim()}`);
    const jwt = (await response.text()).trim();
    const { exp } = JSON.parse(atob(jwt.split('.')[1]!.replaceAll('-', '+').replaceAll('_', '/'))) as { exp: number };
    renewAt = exp * 1_000 - 60_000;
    return jwt;
  };
  return () => {
    if (!token || Date.now() > renewAt) {
      renewAt = Infinity;
      token = renew();
      token.catch(() => (token = undefined));
    }
    return token;
  };
}

/** A client that is signed in as user. */
export function signIn(user: string, options: Omit<AppSyncOptions, 'endpoint' | 'token'> = {}) {
  const token = tokenFor(user);
  return { token, client: createAppSyncClient({ endpoint, token, ...options }) };
}
