import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Server, eventually } from '../testing/server.mjs';
import { launch } from './browser.mjs';

let server;
let browser;

before(async () => {
  server = await Server.start();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Opens the console, with a record of what it should not do. */
async function open() {
  const page = await (await browser.newContext()).newPage();
  const faults = [];
  page.on('pageerror', (error) => faults.push(error.message));
  page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
  page.on(
    'request',
    (request) => /^(blob:|data:)/.test(request.url()) || request.url().startsWith(server.url) || faults.push(`request to ${request.url()}`),
  );
  await page.goto(server.url);
  // The editor comes after the page, with the first example in it.
  await page.getByText('heartbeatIntervalMs').first().waitFor();
  return {
    page,
    faults,
    tab: (name) => page.getByRole('tab', { name, exact: true }).click(),
    run: () => page.getByRole('button', { name: /Execute query/ }).click(),
    as: (user) => page.getByLabel('Signed in as').selectOption(user),
    /** Waits until the response has text, white space apart. */
    async answers(text) {
      const response = () => page.locator('.graphiql-response').textContent();
      await eventually(`the response has ${text}`, async () => (await response()).replace(/\s/g, '').includes(text), 30_000).catch(
        async (error) => assert.fail(`${error.message}; it is ${await response()}; faults: ${faults}`),
      );
    },
  };
}

test('GraphiQL runs a query, a mutation and a subscription, as any user', async () => {
  const watcher = await open();
  await watcher.run();
  await watcher.answers('"statuses":[{"userId":"alice","status":"offline"');
  await watcher.tab('OnPresence');
  await watcher.run();
  await watcher.answers('Accepted.');

  const caller = await open();
  await caller.tab('Connect');
  await caller.as('bob');
  await caller.run();
  await caller.answers('"connect":{"userId":"bob","status":"online"');
  await caller.as('alice');
  await caller.run();
  await caller.answers('"connect":{"userId":"alice","status":"online"');
  await watcher.answers('"onPresence":{"userId":"alice","status":"online","url":"https://example.com/report"');

  await caller.page.getByPlaceholder('somebody else').fill('zoë');
  await caller.page.keyboard.press('Enter');
  await caller.run();
  await caller.answers('"userId":"zoë"');
  assert.deepEqual([...watcher.faults, ...caller.faults], []);
});

test('GraphiQL shows the schema’s documentation', async () => {
  const { page, faults } = await open();
  await page.getByRole('button', { name: 'Show Documentation Explorer' }).click();
  await page.getByRole('link', { name: 'Mutation' }).click();
  await page.getByText('The caller opened a page, or its URL changed.').waitFor();
  assert.deepEqual(faults, []);
});
