import { Webhook } from 'standardwebhooks'

export const SECRET = 'whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='
export const OTHER = 'whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE='
export const STRANGER = 'whsec_AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM='
export const ID = 'evt_00000000000000000000000000000001'

/** The envelope of an event. */
export const envelope = (type = 'email.received', data: unknown = { subject: 'Grüße ✉' }, id = ID): string =>
  JSON.stringify({ type, id, created_at: '2027-01-15T08:00:00Z', schema_version: '1', data })

/** The headers of a body that is sent so many seconds from now. */
export function signed(body: string, secrets: string[] = [SECRET], seconds = 0): Record<string, string> {
  const at = new Date(Date.now() + seconds * 1000)
  return {
    'webhook-id': ID,
    'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
    'webhook-signature': secrets.map((s) => new Webhook(s).sign(ID, at, body)).join(' '),
  }
}
