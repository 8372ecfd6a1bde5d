// The pages of the HTTP API are made from the OpenAPI document at each build, so that the search finds them. Git ignores
// them.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { docs, repository } from './pages.mts'

const document = JSON.parse(readFileSync(join(docs, '../internal/api/openapi.json'), 'utf8'))
const verbs = ['get', 'post', 'put', 'patch', 'delete']
const folder = join(docs, 'reference/api')

interface Operation { verb: string; path: string; op: any }

/** apiPages writes a page for each group of operations, and returns the entries of the sidebar. */
export function apiPages() {
  const groups = new Map<string, Operation[]>()
  for (const [path, item] of Object.entries<any>(document.paths)) {
    for (const verb of verbs.filter((v) => item[v])) {
      const group = item[verb].tags[0]
      groups.set(group, [...(groups.get(group) ?? []), { verb, path, op: item[verb] }])
    }
  }
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const names = [...groups.keys()].sort()
  for (const name of names) {
    write(name, `# ${title(name)}\n\n${groups.get(name)!.map(operation).join('\n')}`)
  }
  const posts = Object.entries<any>(document.webhooks ?? {})
  write('requests', `# Requests to webhooks\n\n${outgoing(posts)}`)
  write('index', index(names.map((name) => [name, groups.get(name)!] as const)))
  return [...names, 'requests'].map((name) => ({ text: name === 'requests' ? 'Requests to webhooks' : title(name), link: `/reference/api/${name}` }))
}

function write(name: string, text: string) {
  writeFileSync(join(folder, name + '.md'), `---\neditLink: false\noutline: 2\n---\n${text}`)
}

function title(group: string): string {
  const words = group.replaceAll('-', ' ')
  return words[0].toUpperCase() + words.slice(1)
}

function index(groups: (readonly [string, Operation[]])[]): string {
  const lists = groups.map(([name, operations]) => {
    const rows = operations.map(({ verb, path, op }) => `| [${md(op.summary)}](${name}.md#${op.operationId}) | \`${verb.toUpperCase()} ${path}\` |`)
    return `## ${title(name)}\n\n| operation | request |\n|---|---|\n${rows.join('\n')}\n`
  })
  return `# HTTP API\n\n${document.info.description}\n\nEach server has this document at \`/openapi.json\`, and shows it at \`/docs\`.
[openapi.json](${repository}/blob/main/internal/api/openapi.json) is the same. The POSTs that Fanmail sends are in
[Requests to webhooks](requests.md).\n\n${lists.join('\n')}`
}

/** md is text of the document in Markdown: what Vue or a table would take for its own is escaped outside of code. */
function md(text = ''): string {
  const parts = text.replaceAll('\n', ' ').split('`')
  const escaped = parts.map((part, i) => (i % 2 === 1 ? part : part.replace(/[*_[\]]/g, '\\$&').replaceAll('<', '&lt;').replaceAll('{{', '&#123;&#123;')))
  return escaped.join('`').replaceAll('|', '\\|')
}

function resolve(schema: any): any {
  return schema?.$ref ? { ...resolve(document.components.schemas[schema.$ref.split('/').pop()]), ...without(schema, '$ref') } : schema
}

function without(object: any, key: string) {
  const { [key]: _, ...rest } = object
  return rest
}

function typeOf(schema: any): string {
  const s = resolve(schema) ?? {}
  const many = [].concat(s.type ?? []).filter((t) => t !== 'null').join(' or ') || (s.const === undefined ? 'any' : 'string')
  const name = s.items ? `list of ${typeOf(s.items)}` : s.format === 'date-time' ? 'time' : many
  return [].concat(s.type ?? []).includes('null' as never) ? `${name} or null` : name
}

function limits(schema: any): string {
  const s = resolve(schema) ?? {}
  const said: string[] = []
  const values = s.enum ?? s.items?.enum
  if (values) said.push('One of ' + values.map((v: any) => `\`${v}\``).join(', ') + '.')
  for (const [key, words] of [['minimum', 'At least'], ['maximum', 'At most'], ['maxItems', 'Entries at most'], ['maxLength', 'Characters at most'], ['default', 'Default']]) {
    if (s[key] !== undefined) said.push(`${words} ${JSON.stringify(s[key])}.`)
  }
  return said.join(' ')
}

/** fields are the rows of an object's fields, those of the objects within it too. */
function fields(schema: any, prefix = '', within: string[] = []): string[] {
  const ref = schema?.$ref ?? schema?.items?.$ref
  if (ref && within.includes(ref)) return []
  const s = resolve(schema) ?? {}
  if (s.items) return fields(s.items, prefix, within)
  return Object.entries<any>(s.properties ?? {}).flatMap(([name, property]) => {
    const at = prefix + name
    const note = (s.required ?? []).includes(name) ? '' : '?'
    const text = [property.description ?? resolve(property)?.description, limits(property)].filter(Boolean).join(' ')
    const row = `| \`${at}${note}\` | ${typeOf(property)} | ${md(text)} |`
    return [row, ...fields(property, at + (resolve(property)?.items ? '[].' : '.'), ref ? [...within, ref] : within)]
  })
}

function table(schema: any): string {
  const rows = fields(schema)
  return rows.length > 0 ? `| field | type | is |\n|---|---|---|\n${rows.join('\n')}\n\n` : ''
}

function sample(example: any): string {
  if (example === undefined) return ''
  const [language, text] = typeof example === 'string' ? ['text', example.replaceAll('\r', '').trimEnd()] : ['json', JSON.stringify(example, null, 2)]
  return `\`\`\`${language}\n${text}\n\`\`\`\n\n`
}

function parameters(list: any[] = []): string {
  if (list.length === 0) return ''
  const rows = list.map((p) => `| \`${p.name}${p.required ? '' : '?'}\` | ${p.in} | ${md([p.description ?? p.schema?.description, limits(p.schema)].filter(Boolean).join(' '))} |`)
  return `| parameter | in | is |\n|---|---|---|\n${rows.join('\n')}\n\n`
}

/** curl is the request as a command. */
function curl({ verb, path, op }: Operation, body: any): string {
  const values = Object.fromEntries((op.parameters ?? []).map((p: any) => [p.name, p.example]))
  const sent = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(values[name]))
  const lines = [`curl ${verb === 'get' ? '' : `-X ${verb.toUpperCase()} `}"$FANMAIL_API${sent}" -H "Authorization: Bearer $FANMAIL_KEY"`]
  if (op.requestBody && body !== undefined) {
    lines.push(`  -H 'Content-Type: application/json' -d '${JSON.stringify(body).replaceAll("'", "'\\''")}'`)
  }
  return `\`\`\`sh\n${lines.join(' \\\n')}\n\`\`\`\n\n`
}

function operation(o: Operation): string {
  const { verb, path, op } = o
  const request = op.requestBody?.content['application/json']
  const answers = Object.entries<any>(op.responses).filter(([status]) => status !== 'default').map(([status, answer]) => {
    const kinds = Object.entries<any>(answer.content ?? {})
    const shown = kinds.map(([kind, media]) => `\`${kind}\`\n\n${sample(media.example)}${details('Fields of the response', table(media.schema))}`)
    return `**${status}** ${md(answer.description)} ${shown.join('')}\n\n`
  })
  return `## ${md(op.summary)} {#${op.operationId}}\n\n\`${verb.toUpperCase()} ${path}\`\n\n${md(op.description)}\n\n` +
    parameters(op.parameters) + curl(o, request?.example) + details('Fields of the request', table(request?.schema)) + answers.join('')
}

function details(summary: string, text: string): string {
  return text ? `::: details ${summary}\n${text}:::\n\n` : ''
}

function outgoing(posts: [string, any][]): string {
  const parts = posts.map(([name, { post }]) => {
    const media = post.requestBody.content['application/json']
    return `## ${name} {#${name.replaceAll('.', '-')}}\n\n${md(post.description)}\n\n${sample(media.example)}${details('Fields', table(media.schema))}`
  })
  const headers = posts[0]?.[1].post.parameters
  return `Fanmail POSTs each of these to the webhooks that ask for it. A field with \`?\` may be absent.
[Webhook requests](../webhook-requests.md) says how to verify a request, and what each answer does.\n\n${parameters(headers)}${parts.join('')}`
}
