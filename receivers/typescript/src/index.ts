export * from './data.js'
export * from './event.js'
export * from './receiver.js'
export * from './seen.js'
