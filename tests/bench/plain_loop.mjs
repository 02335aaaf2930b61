// A plain loop on HubSpot's own client, as its README shows it: search by modification time, page by page.
// Usage: plain_loop.mjs CONFIG (client: the library's path, since: RFC 3339, token)
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const { client: path, since, token } = JSON.parse(readFileSync(process.argv[2]))
const { Client } = createRequire(import.meta.url)(path)
const client = new Client({ accessToken: token, numberOfApiCallRetries: 3 })

const lanes = [['companies', 'hs_lastmodifieddate'], ['contacts', 'lastmodifieddate']]
for (const [lane, modified] of lanes) {
  let after
  do {
    const page = await client.crm[lane].searchApi.doSearch({
      filterGroups: [{ filters: [{ propertyName: modified, operator: 'GTE', value: String(Date.parse(since)) }] }],
      sorts: [{ propertyName: modified, direction: 'ASCENDING' }],
      properties: ['email', 'name'],
      limit: 200,
      after,
    })
    for (const { id } of page.results) console.log(JSON.stringify({ type: 'RECORD', stream: lane, record: { id } }))
    after = page.paging?.next?.after
    console.log(JSON.stringify({ type: 'STATE', value: { [lane]: after } }))
  } while (after)
}
