import type { DataOf, EventType } from './data.js'

/** What a webhook sends. Tenants have types of their own beside those of {@link EventType}. */
export interface Event<Type extends string = string, Data = unknown> {
  /** The type, such as `email.received`. See {@link is}. */
  type: Type
  /** `evt_…`: the same at each attempt and replay. */
  id: string
  /** When the event was committed: RFC 3339, UTC. */
  created_at: string
  /** The version of the envelope's format. */
  schema_version: string
  /** An object whose fields depend on the type. */
  data: Data
}

/**
 * Says whether an event has a type, and so which data.
 *
 * Programs may publish events of Fanmail's types with other data: check the fields of events that they publish.
 */
export function is<Type extends EventType>(event: Event, type: Type): event is Event<Type, DataOf[Type]> {
  return event.type === type
}

/** The signature is valid, and the body is no event. */
export class EventError extends Error {
  override name = 'EventError'
}

/** Reads the envelope of a verified request. It throws an {@link EventError}. */
export function parse(id: string, body: string): Event {
  let event: Partial<Event> | null
  try {
    event = JSON.parse(body)
  } catch {
    throw new EventError('the body is no JSON')
  }
  if (typeof event?.type !== 'string' || typeof event.data !== 'object' || event.data === null) {
    throw new EventError('the body is no event: type or data is missing')
  }
  if (event.id !== id) throw new EventError("the event's id is not that of the header webhook-id")
  return event as Event
}
