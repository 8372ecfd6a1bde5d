import type { IncomingMessage, ServerResponse } from 'node:http'

import { type Answer, type Receiver, read } from './receiver.js'

/** A request of Node, whose body a middleware may have read. */
export type NodeRequest = IncomingMessage & { body?: unknown }

/**
 * Returns a handler for `node:http`, Express, and API routes of Next's Pages Router (with `bodyParser: false`).
 *
 * It reads the body itself. In Express, mount it before `express.json()`, or behind `express.raw({ type: '*\/*' })`: JSON
 * that was parsed is not what was signed, and is answered with 500.
 */
export function nodeHandler(receiver: Receiver): (request: NodeRequest, response: ServerResponse) => Promise<void> {
  return async (request, response) => {
    const answer = await answerTo(receiver, request)
    if (answer.status === 405) response.setHeader('allow', 'POST')
    if (answer.status === 413) response.setHeader('connection', 'close') // the rest of the body is not read
    response.statusCode = answer.status
    if (answer.status === 204) {
      response.end()
      return
    }
    response.setHeader('content-type', 'text/plain; charset=utf-8')
    response.end(answer.text)
  }
}

async function answerTo(receiver: Receiver, request: NodeRequest): Promise<Answer> {
  if (request.method !== 'POST') return { status: 405, text: 'only POST is allowed' }
  if (request.body instanceof Uint8Array) return receiver.receive(request.headers, request.body)
  if (request.readableEnded) {
    return receiver.refuse(500, new Error('the body was parsed before: mount the handler before the body parser, or parse with express.raw()'))
  }
  let body: Uint8Array | undefined
  try {
    body = await read(request, receiver.maxBody)
  } catch (e) {
    return receiver.refuse(400, e) // the client has gone
  }
  return body ? receiver.receive(request.headers, body) : receiver.refuse(413, new Error(`the body is longer than ${receiver.maxBody} bytes`))
}
