import createFetchClient, { type Client, type ClientOptions } from 'openapi-fetch'

import type { components, paths } from './schema.js'

export type { components, operations, paths } from './schema.js'

/** What the API says of an error (RFC 9457): its `errors` name fields. */
export type Problem = components['schemas']['ErrorModel']

/** Where the server is, and who calls. */
export interface Options extends Omit<ClientOptions, 'baseUrl'> {
  /** The server's URL, such as `https://fanmail.example.com`. */
  url: string
  /** The key of a tenant or of an operator. */
  key: string
}

/**
 * Returns a client with the methods of openapi-fetch, such as `GET` and `POST`. Paths, parameters, bodies and answers have
 * the types of the API's OpenAPI document. A call resolves to `data`, or to `error`, a {@link Problem}.
 */
export function createClient({ url, key, headers, ...options }: Options): Client<paths> {
  if (!url || !key) throw new TypeError('url and key are needed')
  const client = createFetchClient<paths>({ ...options, baseUrl: url, ...(headers === undefined ? {} : { headers }) })
  client.use({
    onRequest({ request }) {
      request.headers.set('authorization', `Bearer ${key}`)
      return request
    },
  })
  return client
}
