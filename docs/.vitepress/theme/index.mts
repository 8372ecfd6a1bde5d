import type { Theme } from 'vitepress'
import { onContentUpdated, withBase } from 'vitepress'
import DefaultTheme from 'vitepress/theme-without-fonts'
import './style.css'

let mermaid: Promise<any> | undefined

function script(): Promise<any> {
  return new Promise((done, failed) => {
    const element = document.createElement('script')
    element.src = withBase('/assets/mermaid.js')
    element.onload = () => done((window as any).mermaid)
    element.onerror = () => failed(new Error(`load ${element.src}`))
    document.head.append(element)
  })
}

/** draw turns the page's diagrams into pictures. Only pages that have some load the script. */
async function draw() {
  const waiting = document.querySelectorAll<HTMLElement>('pre.mermaid:not([data-processed])')
  if (waiting.length === 0) return
  const drawer = await (mermaid ??= script())
  const dark = document.documentElement.classList.contains('dark')
  drawer.initialize({ startOnLoad: false, securityLevel: 'strict', theme: dark ? 'dark' : 'neutral' })
  await drawer.run({ nodes: waiting })
}

export default {
  extends: DefaultTheme,
  setup: () => onContentUpdated(draw),
} satisfies Theme
