import { createRequire } from 'node:module'
import { copyFileSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { defineConfig } from 'vitepress'
import { apiPages } from './api.mts'
import { docs, kinds, repository, siteLink } from './pages.mts'

const require = createRequire(import.meta.url)
const base = process.env.DOCS_BASE || '/'
const operations = apiPages()

// Readers' browsers ask this site alone. The theme has inline scripts and styles.
const policy = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'"

const sidebar = kinds().map((kind) => ({
  text: kind.text,
  collapsed: false,
  items: kind.items.map(({ text, link }) => {
    const to = siteLink(link, 'README.md')
    return to === '/reference/api/' ? { text, link: to, collapsed: true, items: operations } : { text, link: '/' + to.replace(/\.md$/, '') }
  }),
}))

// Pages draw their diagrams in the browser, with a script of this site.
const assets = join(docs, 'public/assets')
mkdirSync(assets, { recursive: true })
copyFileSync(join(dirname(require.resolve('@mermaid-js/tiny/package.json')), 'dist/mermaid.tiny.js'), join(assets, 'mermaid.js'))

export default defineConfig({
  title: 'Fanmail',
  description: 'Inbound mail becomes signed webhooks, and nothing is lost on the way.',
  lang: 'en',
  base,
  head: [['meta', { 'http-equiv': 'Content-Security-Policy', content: policy }]],
  outDir: '../bin/docs',
  cacheDir: '.vitepress/cache',
  cleanUrls: false,
  srcExclude: ['.vitepress/**'],
  rewrites: { 'README.md': 'pages.md' },
  vite: {
    // The pages lie outside of the folder with the packages.
    resolve: {
      alias: [
        { find: /^vue\/server-renderer$/, replacement: require.resolve('vue/server-renderer') },
        { find: /^vue$/, replacement: require.resolve('vue/dist/vue.runtime.esm-bundler.js') },
      ],
    },
    build: { chunkSizeWarningLimit: 2000 },
  },
  markdown: {
    // Headings have the anchors that GitHub gives them.
    anchor: { slugify: (heading) => heading.trim().toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-') },
    config(md) {
      // Links that are right on GitHub are right here too.
      md.core.ruler.push('site-links', (state) => {
        for (const block of state.tokens) {
          for (const token of block.children ?? []) {
            const href = token.type === 'link_open' && token.attrGet('href')
            if (href) token.attrSet('href', siteLink(href, state.env.relativePath))
          }
        }
      })
      const fence = md.renderer.rules.fence!
      md.renderer.rules.fence = (tokens, i, options, env, self) =>
        tokens[i].info.trim() === 'mermaid'
          ? `<pre class="mermaid" v-pre>${md.utils.escapeHtml(tokens[i].content)}</pre>`
          : fence(tokens, i, options, env, self)
    },
  },
  themeConfig: {
    nav: [
      { text: 'Quickstart', link: '/tutorials/quickstart' },
      { text: 'All pages', link: '/pages' },
      { text: 'API', link: '/reference/api/' },
      { text: 'Source', link: repository },
    ],
    sidebar,
    outline: [2, 3],
    search: { provider: 'local' },
    editLink: { pattern: repository + '/edit/main/docs/:path', text: 'Edit this page' },
    docFooter: { prev: false, next: false },
  },
})
