import type { FastifyPluginAsync } from 'fastify'

import type { Receiver } from './receiver.js'

/**
 * Returns a plugin that receives webhooks at a path: `app.register(fastifyPlugin(receiver, '/hooks'))`. It reads bodies as
 * bytes, and leaves the parsers of other routes as they are.
 */
export function fastifyPlugin(receiver: Receiver, path: string): FastifyPluginAsync {
  return async (app) => {
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: receiver.maxBody }, (_request, body, done) => done(null, body))
    app.post(path, async (request, reply) => {
      const body = request.body instanceof Uint8Array ? request.body : new Uint8Array()
      const answer = await receiver.receive(request.headers, body)
      return reply.code(answer.status).type('text/plain; charset=utf-8').send(answer.text)
    })
  }
}
