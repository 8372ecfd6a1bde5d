import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

import { Receiver, SignatureError } from '@fanmail-dev/receiver'

interface Vector {
  name: string
  secret: string
  now: number
  headers: Record<string, string>
  body: string
  standard: boolean
}

// The vectors are those that Fanmail's own verifier keeps to. Each is verified at its own time.
test('vectors', () => {
  const vectors: Vector[] = JSON.parse(readFileSync('../../subscribers/signature/testdata/vectors.json', 'utf8'))
  assert.ok(vectors.length >= 15)
  const clock = Date.now
  try {
    for (const v of vectors) {
      Date.now = () => v.now * 1000
      const receiver = new Receiver({ secret: v.secret, log: () => {} }, () => {})
      let refused = false
      try {
        receiver.verify(new Headers(v.headers), new TextEncoder().encode(v.body))
      } catch (e) {
        refused = e instanceof SignatureError
      }
      assert.equal(!refused, v.standard, v.name)
    }
  } finally {
    Date.now = clock
  }
})
