import { GraphiQL } from 'graphiql';
import 'graphiql/setup-workers/vite';
import 'graphiql/style.css';
import { getOperationAST, parse } from 'graphql';
import { StrictMode, useMemo, useState } from 'react';
import { createRoot } from 'react-dom/client';
import './console.css';
import { examples } from './examples.ts';
import { signIn } from './signin.ts';

const users = ['alice', 'bob', 'carol'];

type Params = { query: string; variables?: Record<string, unknown>; operationName?: string | null };

/** Makes GraphiQL speak AppSync's protocol as user. */
function fetcherFor(user: string) {
  const { client } = signIn(user);
  return ({ query, variables = {}, operationName }: Params) => {
    // GraphiQL learns a little later than its editor which operation is in it: after
    // a change of tabs the name may be of one that is no longer there.
    const document = parse(query);
    const operation = getOperationAST(document, operationName) ?? getOperationAST(document);
    if (operation?.operation !== 'subscription') return client.execute<unknown>(query, variables, operation?.name?.value);
    return {
      subscribe(observer: { next(value: unknown): void; error(cause: unknown): void; complete(): void }) {
        const unsubscribe = client.subscribe<unknown>(query, variables, {
          ready: () =>
            observer.next({
              extensions: { subscription: 'Accepted. What happens in a second window, or on the live page, arrives here.' },
            }),
          next: (data) => observer.next({ data }),
          lost: () => observer.next({ extensions: { subscription: 'The connection is lost and is being restored.' } }),
          error: (cause) => observer.error(cause),
        });
        return { unsubscribe };
      },
    };
  };
}

function Console() {
  const [user, setUser] = useState(users[0]!);
  const [typed, setTyped] = useState('');
  const fetcher = useMemo(() => fetcherFor(user), [user]);
  return (
    <>
      <header>
        <h1>Presence console</h1>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            if (typed.trim()) setUser(typed.trim());
          }}
        >
          <label>
            Signed in as{' '}
            <select value={user} onChange={(event) => setUser(event.target.value)}>
              {[...new Set([...users, user])].map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
          <label>
            or <input placeholder="somebody else" value={typed} onChange={(event) => setTyped(event.target.value)} />
          </label>
        </form>
        <a href="/demo">Live page</a>
      </header>
      <GraphiQL fetcher={fetcher as never} defaultTabs={examples} isHeadersEditorEnabled={false} defaultEditorToolsVisibility="variables" />
    </>
  );
}

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <Console />
  </StrictMode>,
);
