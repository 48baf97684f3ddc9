// Makes the pictures of the README.
import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { eventually, Server } from '../testing/server.mjs';
import { launch, Person } from './browser.mjs';

const to = (name) => fileURLToPath(new URL(`../../docs/images/${name}.png`, import.meta.url));
await mkdir(to('.').slice(0, -5), { recursive: true });

const connect = `mutation ($url: String!, $title: String!) {
  connect(url: $url, title: $title) { userId status url title lastSeen asOf expiresAt heartbeatIntervalMs }
}`;
const disconnect = 'mutation { disconnect { userId status url title lastSeen asOf expiresAt heartbeatIntervalMs } }';

const server = await Server.start();
const browser = await launch();
try {
  const bob = await Person.come(browser, 'bob', server.url);
  await bob.page.setViewportSize({ width: 1000, height: 860 });
  await bob.sees('carol', 'offline');
  await server.call('carol', connect, { url: 'https://example.com/roadmap', title: 'Roadmap' });
  await server.call('alice', connect, { url: 'https://example.com/inbox', title: 'Inbox' });
  await bob.sees('alice', 'online', 'Inbox');
  await server.call('carol', disconnect);
  await bob.sees('carol', 'offline');
  await server.call('alice', connect, { url: 'https://example.com/report', title: 'Quarterly report' });
  await bob.sees('alice', 'online', 'Quarterly report');
  await bob.page.screenshot({ path: to('demo') });

  const page = await (await browser.newContext({ viewport: { width: 1200, height: 720 } })).newPage();
  await page.goto(server.url);
  await page.getByText('heartbeatIntervalMs').first().waitFor();
  await page.getByRole('button', { name: 'Show Documentation Explorer' }).click();
  await page.getByRole('link', { name: 'Mutation' }).click();
  await page.getByRole('tab', { name: 'OnPresence', exact: true }).click();
  await page.getByRole('button', { name: /Execute query/ }).click();
  await page.getByText('Accepted').waitFor();
  await eventually('the picture has data', async () => {
    await server.call('alice', connect, { url: 'https://example.com/report', title: 'Quarterly report' });
    return page.getByText('Quarterly report').count();
  });
  await page.screenshot({ path: to('console') });
} finally {
  await browser.close();
  await server.stop();
}
