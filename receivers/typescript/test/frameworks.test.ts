import assert from 'node:assert/strict'
import { type RequestListener, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'

import express from 'express'
import Fastify from 'fastify'

import { type Event, Receiver, is } from '@fanmail-dev/receiver'
import { fastifyPlugin } from '@fanmail-dev/receiver/fastify'
import { nodeHandler } from '@fanmail-dev/receiver/node'

import { OTHER, SECRET, envelope, signed } from './signing.js'

function rig() {
  const subjects: string[] = []
  const log: string[] = []
  const receiver = new Receiver({ secret: SECRET, maxBody: 10_000, log: (message, error) => log.push(`${message} ${error}`) }, (event: Event) => {
    if (is(event, 'email.received')) subjects.push(event.data.subject)
  })
  return { receiver, subjects, log }
}

async function serve(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Sends what each framework must take, and what it must refuse. */
async function exchange(url: string): Promise<void> {
  const post = async (body: string, headers: Record<string, string>, type = 'application/json') =>
    (await fetch(url, { method: 'POST', body, headers: { 'content-type': type, ...headers } })).status
  const body = envelope()
  assert.equal(await post(body, signed(body)), 204)
  assert.equal(await post(body, signed(body), 'text/plain'), 204)
  assert.equal(await post(body, signed(body, [OTHER])), 401)
  assert.equal(await post(body, signed(body, [SECRET], -400)), 401)
  assert.equal(await post(`${body} `, signed(body)), 401)
  assert.equal(await post('', {}), 401)
  const long = envelope('a.b', 'x'.repeat(20_000))
  assert.equal(await post(long, signed(long)), 413)
}

test('node:http', async (t) => {
  const r = rig()
  const url = await serve(t, nodeHandler(r.receiver))
  await exchange(url)
  assert.deepEqual(r.subjects, ['Grüße ✉', 'Grüße ✉'])
  const got = await fetch(url)
  assert.deepEqual([got.status, got.headers.get('allow')], [405, 'POST'])
})

test('Express', async (t) => {
  const r = rig()
  const app = express().set('env', 'test') // logs no errors
  app.post('/hooks', nodeHandler(r.receiver))
  app.post('/raw', express.raw({ type: '*/*', limit: 10_000 }), nodeHandler(r.receiver))
  app.use(express.json())
  app.post('/parsed', nodeHandler(r.receiver))
  const url = await serve(t, app)
  await exchange(`${url}/hooks`)
  await exchange(`${url}/raw`)
  assert.equal(r.subjects.length, 4)
  const body = envelope()
  const parsed = await fetch(`${url}/parsed`, { method: 'POST', body, headers: { 'content-type': 'application/json', ...signed(body) } })
  assert.equal(parsed.status, 500)
  assert.ok(r.log.join('\n').includes('mount the handler before the body parser'))
})

test('Fastify', async (t) => {
  const r = rig()
  const app = Fastify()
  app.post('/own', async (request) => request.body)
  app.register(fastifyPlugin(r.receiver, '/hooks'))
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  t.after(() => app.close())
  await exchange(`${url}/hooks`)
  assert.equal(r.subjects.length, 2)
  const own = await fetch(`${url}/own`, { method: 'POST', body: '{"a":1}', headers: { 'content-type': 'application/json' } })
  assert.deepEqual(await own.json(), { a: 1 }, 'other routes still parse JSON')
})

// Next's route handlers, Deno, Bun and Workers call a function with a Request and send the Response.
test('fetch', async () => {
  const r = rig()
  const { fetch: POST } = r.receiver
  const body = envelope()
  assert.equal((await POST(new Request('https://example.com/hooks', { method: 'POST', body, headers: signed(body) }))).status, 204)
  assert.deepEqual(r.subjects, ['Grüße ✉'])
})
