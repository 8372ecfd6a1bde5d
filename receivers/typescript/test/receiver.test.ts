import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'

import { type Event, Memory, Receiver, is } from '@fanmail-dev/receiver'

import { ID, OTHER, SECRET, STRANGER, envelope, signed } from './signing.js'

function rig(handle: (event: Event) => void | Promise<void>, options: { secret?: string | string[]; seen?: Memory; maxBody?: number } = {}) {
  const log: string[] = []
  const receiver = new Receiver({ secret: SECRET, log: (message, error) => log.push(`${message} ${error}`), ...options }, handle)
  const post = async (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string>) => {
    const answer = await receiver.fetch(new Request('http://localhost/hooks', { method: 'POST', body, headers }))
    return { status: answer.status, text: await answer.text() }
  }
  const status = async (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string>) => (await post(body, headers)).status
  return { receiver, log, post, status }
}

test('answers', async () => {
  const events: Event[] = []
  const r = rig(
    (event) => {
      if (event.type === 'fails.always') throw new Error('the database is away')
      events.push(event)
    },
    { secret: [OTHER, SECRET], maxBody: 1000 },
  )
  const body = envelope()
  assert.equal(await r.status(body, signed(body)), 204)
  assert.equal(await r.status(body, signed(body, [OTHER])), 204)
  assert.equal(await r.status(body, signed(body, [STRANGER, SECRET])), 204, 'while the secret is rotated')
  assert.equal(events.length, 3)
  assert.deepEqual(events[0], JSON.parse(body))
  assert.equal(await r.status(body, signed(body, [STRANGER])), 401)
  assert.equal(await r.status(body, {}), 401)
  assert.equal(await r.status(body, signed(body, [SECRET], -301)), 401)
  assert.equal(await r.status(body, signed(body, [SECRET], 302)), 401)
  assert.equal(await r.status(body.replace('Grüße', 'Gruesse'), signed(body)), 401)
  assert.equal(await r.status(body, { ...signed(body), 'webhook-signature': 'v1' }), 401)
  assert.equal(await r.status(new Uint8Array([0xff, 0xfe]), signed('\ufffd\ufffd')), 401, 'bytes that are no text')
  for (const bad of ['{', 'null', '[]', '7', '', `{"id":"${ID}"}`, envelope('a.b', null), envelope('a.b', {}, 'evt_2')]) {
    assert.equal(await r.status(bad, signed(bad)), 400, bad)
  }
  const long = envelope('a.b', { text: 'x'.repeat(1000) })
  assert.equal(await r.status(long, signed(long)), 413)
  const failing = envelope('fails.always')
  assert.deepEqual(await r.post(failing, signed(failing)), { status: 500, text: 'the event was not handled' })
  const got = await r.receiver.fetch(new Request('http://localhost/hooks'))
  assert.deepEqual([got.status, got.headers.get('allow')], [405, 'POST'])
  assert.equal(events.length, 3)
  const log = r.log.join('\n')
  for (const says of ['the signature is not valid', 'the body is no event', 'the database is away', 'longer than 1000 bytes']) assert.ok(log.includes(says), `${says} in ${log}`)
  for (const hides of ['AAAAA', 'AwMDA', 'v1,', 'Grüße']) assert.ok(!log.includes(hides), `${hides} in ${log}`)
})

test('secrets are checked', () => {
  for (const secret of ['', [], [SECRET, ''], 'whpk_AAAA', 'whsk_AAAA', undefined as unknown as string]) {
    assert.throws(() => new Receiver({ secret }, () => {}), (e: Error) => e instanceof TypeError && !e.message.includes('AAAA'))
  }
})

test('a handled event is handled once', async () => {
  const seen = new Memory()
  let calls = 0
  const r = rig(() => {
    calls++
    if (calls === 1) throw new Error('not now')
  }, { seen })
  const body = envelope()
  assert.equal(await r.status(body, signed(body)), 500)
  for (let i = 0; i < 3; i++) assert.equal(await r.status(body, signed(body)), 204)
  assert.equal(calls, 2)
  seen.forget(ID, 'evt_unknown')
  assert.equal(await r.status(body, signed(body)), 204)
  assert.equal(calls, 3)
})

test('two requests with one event are not handled at once', async () => {
  let end = () => {}
  const ended = new Promise<void>((resolve) => (end = resolve))
  let begun = () => {}
  const started = new Promise<void>((resolve) => (begun = resolve))
  const r = rig(() => {
    begun()
    return ended
  }, { seen: new Memory() })
  const body = envelope()
  const first = r.status(body, signed(body))
  await started
  assert.equal(await r.status(body, signed(body)), 409)
  end()
  assert.equal(await first, 204)
  assert.equal(await r.status(body, signed(body)), 204)
})

test('a store that fails', async () => {
  const handled: string[] = []
  const failing = (at: 'begin' | 'end') => ({
    begin: async (): Promise<'fresh'> => {
      if (at === 'begin') throw new Error('no connection')
      return 'fresh'
    },
    end: async () => {
      throw new Error('no connection')
    },
  })
  const body = envelope()
  for (const [at, status] of [['begin', 500], ['end', 204]] as const) {
    const receiver = new Receiver({ secret: SECRET, seen: failing(at), log: () => {} }, () => void handled.push(at))
    assert.equal((await receiver.receive(signed(body), new TextEncoder().encode(body))).status, status, at)
  }
  assert.deepEqual(handled, ['end'])
})

test('memory remembers the newest', () => {
  const m = new Memory(3)
  assert.equal(m.begin('busy'), 'fresh')
  for (let i = 0; i < 100; i++) {
    assert.equal(m.begin(`${i}`), 'fresh')
    assert.equal(m.begin(`${i}`), 'busy')
    m.end(`${i}`, true)
    assert.equal(m.begin(`${i}`), 'done')
  }
  assert.deepEqual([m.begin('97'), m.begin('96'), m.begin('busy')], ['done', 'fresh', 'busy'])
  m.end('busy', false)
  assert.equal(m.begin('busy'), 'fresh')
  assert.throws(() => new Memory(0), RangeError)
})

test('golden envelopes have their types', () => {
  const dir = '../../events/testdata/envelopes/'
  let mails = 0
  for (const file of readdirSync(dir)) {
    const event: Event = JSON.parse(readFileSync(dir + file, 'utf8'))
    if (is(event, 'email.received')) {
      const subject: string = event.data.subject // the compiler knows the field
      assert.equal(typeof subject, 'string')
      mails++
    }
    assert.ok(!is(event, 'email.sent'))
  }
  assert.ok(mails > 0)
})
