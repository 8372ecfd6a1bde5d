import { Webhook } from 'standardwebhooks'

import { type Event, EventError, parse } from './event.js'
import type { Seen } from './seen.js'

/** The longest body that is read by default: 1 MiB. An envelope of Fanmail has at most 256 KiB. */
export const DEFAULT_MAX_BODY = 1 << 20

/** What a receiver is made of. */
export interface Options {
  /** The signing secret of the webhook as Fanmail shows it, or those of several webhooks. */
  secret: string | readonly string[]
  /** Drops duplicates, such as a `Memory`. Without it each request is handled. */
  seen?: Seen
  /** The longest body that is read, in bytes. */
  maxBody?: number
  /** Gets each request that is refused or fails. By default it is `console.error`. */
  log?: (message: string, error: unknown) => void
}

/** Handles an event. An error makes Fanmail send it again. Fanmail waits 15 seconds: leave longer work to a queue. */
export type Handle = (event: Event) => void | Promise<void>

/** What a framework sends back. */
export interface Answer {
  status: number
  /** Plain text, without details of an error. */
  text: string
}

/** Headers of a request: those of fetch, or those of Node. */
export type RequestHeaders = Headers | Record<string, string | readonly string[] | undefined>

/** The request is not signed by one of the secrets, or not within five minutes of now. */
export class SignatureError extends Error {
  override name = 'SignatureError'
}

/**
 * Verifies requests and hands their events to a function. The signature of the exact body is verified before anything
 * else, by the library of Standard Webhooks. Neither an answer nor the log has a secret, a signature or a body.
 */
export class Receiver {
  readonly maxBody: number
  readonly #keys: Webhook[]
  readonly #handle: Handle
  readonly #seen: Seen | undefined
  readonly #log: (message: string, error: unknown) => void

  /** Throws an error if a secret can be none. */
  constructor(options: Options, handle: Handle) {
    const secrets = typeof options.secret === 'string' ? [options.secret] : options.secret
    if (!Array.isArray(secrets) || secrets.length === 0) throw new TypeError('secret: there is no signing secret')
    this.#keys = secrets.map(keyOf)
    this.#handle = handle
    this.#seen = options.seen
    this.maxBody = options.maxBody ?? DEFAULT_MAX_BODY
    this.#log = options.log ?? ((message, error) => console.error(`fanmail: ${message}:`, error))
  }

  /**
   * Checks the signature of a request with the exact bytes of its body, and reads the event. It throws a
   * {@link SignatureError} or an {@link EventError}.
   */
  verify(headers: RequestHeaders, body: Uint8Array): Event {
    let text: string
    try {
      text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body)
    } catch {
      throw new SignatureError('the body is not UTF-8')
    }
    const signed: Record<string, string> = {}
    for (const name of ['webhook-id', 'webhook-timestamp', 'webhook-signature']) signed[name] = valueOf(headers, name)
    let reason = ''
    for (const key of this.#keys) {
      try {
        key.verify(text, signed, { jsonParse: false })
      } catch (e) {
        reason = e instanceof Error ? e.message : String(e)
        continue
      }
      return parse(signed['webhook-id'] ?? '', text)
    }
    throw new SignatureError(`the signature is not valid: ${reason}`)
  }

  /** Verifies a request that a framework has read, handles its event unless it is a duplicate, and says what to answer. */
  async receive(headers: RequestHeaders, body: Uint8Array): Promise<Answer> {
    if (body.byteLength > this.maxBody) return this.refuse(413, new Error(`the body is longer than ${this.maxBody} bytes`))
    let event: Event
    try {
      event = this.verify(headers, body)
    } catch (e) {
      return this.refuse(e instanceof EventError ? 400 : 401, e)
    }
    try {
      return await this.#once(event)
    } catch (e) {
      this.#log(`the event ${event.id} was not handled`, e)
      return { status: 500, text: 'the event was not handled' }
    }
  }

  /** Answers a request of the fetch API: in Next's route handlers, Deno, Bun and Workers. It may be passed on by itself. */
  readonly fetch = async (request: Request): Promise<Response> => {
    let answer: Answer
    if (request.method !== 'POST') {
      answer = { status: 405, text: 'only POST is allowed' }
    } else {
      const body = await read(request.body ?? [], this.maxBody)
      answer = body ? await this.receive(request.headers, body) : this.refuse(413, new Error(`the body is longer than ${this.maxBody} bytes`))
    }
    const headers: Record<string, string> = answer.status === 405 ? { allow: 'POST' } : {}
    return new Response(answer.status === 204 ? null : answer.text, { status: answer.status, headers })
  }

  /** Logs why a request is refused, and returns the answer. */
  refuse(status: number, reason: unknown): Answer {
    this.#log(`a request was refused with ${status}`, reason)
    return { status, text: reasons[status] ?? '' }
  }

  async #once(event: Event): Promise<Answer> {
    const done: Answer = { status: 204, text: '' }
    if (!this.#seen) {
      await this.#handle(event)
      return done
    }
    const state = await this.#seen.begin(event.id)
    if (state === 'done') return done
    if (state === 'busy') return { status: 409, text: 'another request with this event is being handled' }
    let handled = false
    try {
      await this.#handle(event)
      handled = true
    } finally {
      try {
        await this.#seen.end(event.id, handled)
      } catch (e) {
        this.#log(`it is not remembered whether the event ${event.id} was handled (${handled})`, e)
      }
    }
    return done
  }
}

const reasons: Record<number, string> = {
  400: 'the body is no event',
  401: 'the signature is not valid',
  413: 'the body is too long',
  500: 'the receiver is not set up',
}

/** Reads a body of at most so many bytes. It returns undefined if there are more. */
export async function read(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array> | ReadableStream<Uint8Array>, max: number): Promise<Uint8Array | undefined> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const chunk of iterate(chunks)) {
    length += chunk.byteLength
    if (length > max) return undefined
    parts.push(chunk)
  }
  const body = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    body.set(part, at)
    at += part.byteLength
  }
  return body
}

/** Iterates over a stream also where streams have no iterator. */
async function* iterate(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array> | ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  if (!('getReader' in chunks)) {
    yield* chunks
    return
  }
  const reader = chunks.getReader()
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value
  } finally {
    await reader.cancel()
  }
}

function valueOf(headers: RequestHeaders, name: string): string {
  const value = headers instanceof Headers ? headers.get(name) : headers[name]
  return typeof value === 'string' ? value : (value?.[0] ?? '')
}

/** Reads a secret. One that was brought along need not be base64 after `whsec_`: its key is then its whole text. */
function keyOf(secret: unknown): Webhook {
  if (typeof secret !== 'string' || secret === '' || /^wh[ps]k_/.test(secret)) {
    throw new TypeError('secret: a signing secret is a text that is not empty, and no key of Ed25519 (whpk_, whsk_)')
  }
  if (/^whsec_(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$/.test(secret)) return new Webhook(secret)
  return new Webhook(new TextEncoder().encode(secret), { format: 'raw' })
}
