// The list of pages in docs/README.md is the only one: the sidebar and the links of the start page come from it.
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

export const docs = resolve(dirname(fileURLToPath(import.meta.url)), '..')
export const repository = 'https://github.com/fanmail-dev/fanmail'

export interface Item { text: string; link: string }
export interface Kind { text: string; items: Item[] }

const link = /\[([^\]]+)\]\(([^)#]+)\)/g

/** kinds reads the four kinds of pages. A page without a place in the list is an error, and so is one with two. */
export function kinds(): Kind[] {
  const found: Kind[] = []
  for (const section of readFileSync(join(docs, 'README.md'), 'utf8').split(/^## /m).slice(1)) {
    const text = section.slice(0, section.indexOf('\n')).trim()
    const items = [...section.matchAll(link)].map(([, name, target]) => ({ text: plain(name), link: target }))
    found.push({ text, items })
  }
  const listed = found.flatMap((k) => k.items.map((i) => i.link))
  const twice = listed.filter((l, i) => listed.indexOf(l) !== i)
  const missing = pages().filter((p) => !listed.includes(p))
  if (twice.length > 0 || missing.length > 0) {
    throw new Error(`docs/README.md must list each page once. Twice: ${twice.join(', ') || 'none'}. Not at all: ${missing.join(', ') || 'none'}.`)
  }
  return found
}

/** pages are the pages in the repository but the list itself, by their path in docs. */
function pages(): string[] {
  const found = readdirSync(docs, { recursive: true, withFileTypes: true })
    .filter((f) => f.isFile() && f.name.endsWith('.md'))
    .map((f) => relative(docs, join(f.parentPath ?? f.path, f.name)))
  return found.filter((p) => !p.startsWith('.') && !p.startsWith('reference/api/') && !['README.md', 'index.md'].includes(p))
}

/** plain is a link's text without marks, and with a capital first letter. */
function plain(text: string): string {
  const bare = text.replace(/[`*]/g, '')
  return bare[0].toUpperCase() + bare.slice(1)
}

/** siteLink is where a link of a page leads on the site: what is not a page leads to the repository. */
export function siteLink(href: string, page: string): string {
  if (/^[a-z]+:/i.test(href) || href.startsWith('#') || href.startsWith('/')) return href
  const [file, anchor] = href.split('#')
  const target = relative(docs, resolve(docs, dirname(page), file))
  if (target === '../internal/api/openapi.json') return '/reference/api/'
  if (target === 'README.md') return '/pages'
  if (!target.startsWith('..') && file.endsWith('.md')) return href
  const path = relative(join(docs, '..'), join(docs, target))
  if (!existsSync(join(docs, target))) throw new Error(`${page} links to ${path}, which does not exist`)
  return `${repository}/blob/main/${path}${anchor ? '#' + anchor : ''}`
}
