/**
 * What a {@link Seen} knows of an event.
 *
 * - `fresh`: nothing. The caller handles it and then calls `end`.
 * - `busy`: another request with the event is being handled. It gets a 409, so that Fanmail tries again if the other one
 *   fails.
 * - `done`: it was handled. It gets a 204.
 */
export type State = 'fresh' | 'busy' | 'done'

/**
 * Remembers by id which events were handled, because Fanmail sends each at least once.
 *
 * A replay sends events again under their ids. If it is to have an effect, forget them before.
 */
export interface Seen {
  /**
   * Says what is known of the event, and marks one that is fresh as busy. A store that outlives the process lets the mark
   * expire, after a minute say: the process may die before it calls `end`. An error is answered with 500.
   */
  begin(id: string): State | Promise<State>
  /** Marks a busy event as done if it was handled, and forgets it if not. */
  end(id: string, handled: boolean): void | Promise<void>
}

/** How many handled events a {@link Memory} remembers by default. */
export const DEFAULT_MEMORY = 10_000

/** A {@link Seen} for one process. It remembers the newest events that were handled. */
export class Memory implements Seen {
  readonly #busy = new Set<string>()
  readonly #done = new Set<string>() // in the order in which they were handled
  readonly #size: number

  /** Remembers so many handled events. */
  constructor(events = DEFAULT_MEMORY) {
    if (!Number.isInteger(events) || events < 1) throw new RangeError('events: a whole number of at least 1')
    this.#size = events
  }

  begin(id: string): State {
    if (this.#done.has(id)) return 'done'
    if (this.#busy.has(id)) return 'busy'
    this.#busy.add(id)
    return 'fresh'
  }

  end(id: string, handled: boolean): void {
    if (!this.#busy.delete(id) || !handled) return
    this.#done.add(id)
    if (this.#done.size > this.#size) {
      for (const oldest of this.#done) {
        this.#done.delete(oldest)
        break
      }
    }
  }

  /** Forgets events, so that a replay of them is handled. */
  forget(...ids: string[]): void {
    for (const id of ids) this.#done.delete(id)
  }
}
