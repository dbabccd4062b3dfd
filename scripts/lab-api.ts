/**
 * Writes docs/reference/lab-api.md: what the lab's API serves, from its registry. Run with
 * `npx tsx scripts/lab-api.ts`; `--check` only compares.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { argv, exit, stdout } from 'node:process';
import { fileURLToPath } from 'node:url';
import { format } from 'prettier';
import { apiVersionOf, isReview, resourceTypes } from '../src/lab/api/registry.ts';
import { serverVersion } from '../src/lab/api/discovery.ts';

const path = fileURLToPath(new URL('../docs/reference/lab-api.md', import.meta.url));

const rows = resourceTypes.map((type) => {
  const verbs = type.verbs.length === 8 ? 'all' : type.verbs.join(', ');
  const subresources = type.subresources.map((sub) => sub.name).join(', ') || '–';
  const short = type.shortNames.join(', ') || '–';
  return `| ${apiVersionOf(type)} | ${type.plural} | ${type.kind} | ${short} | ${type.namespaced ? 'namespace' : 'cluster'} | ${verbs} | ${subresources} |`;
});

/** The page; its table is the registry, so it cannot say more than the server does. */
const page = `# The API of the lab

Written by \`npx tsx scripts/lab-api.ts\` from \`src/lab/api/registry.ts\`; do not edit.

The lab answers as a Kubernetes ${String(serverVersion['gitVersion'])} API server for the kinds
below, over HTTPS on loopback with a token. What is not in this table answers 404 (path or kind), 405
(verb) or 415 (body format). "all" is create, delete, deletecollection, get, list, patch, update and
watch.

| apiVersion | resource | kind | short | scope | verbs | subresources |
| --- | --- | --- | --- | --- | --- | --- |
${rows.join('\n')}

${resourceTypes.filter(isReview).length} of these are questions: they are answered and not kept.

## Requests

| what | how far |
| --- | --- |
| Bodies | JSON, YAML, and protobuf for the types of the groups above. Replies are JSON; a client that accepts only protobuf gets 406 |
| Replies | object, List, Table (v1, v1beta1) and PartialObjectMetadata |
| Discovery | legacy, and aggregated v2 and v2beta1 with ETag |
| OpenAPI | v3 with field types and merge keys; \`kubectl explain\` has short texts, in full for the policy kinds, elsewhere where the lab uses a field; v2 is an empty document, enough for clients older than 1.29 |
| Lists | limit and continue over one consistent state, resourceVersion with Exact and NotOlderThan, label and field selectors; 410 when history is gone, 504 for a version of the future |
| Watches | bookmarks, WatchList (sendInitialEvents), selectors with transitions, 410 as an ERROR event; also over WebSocket |
| Patches | JSON (RFC 6902), merge (RFC 7386), strategic merge (not for policy.networking.k8s.io, as for custom resources), server-side apply with managedFields and conflicts |
| Writes | dry run, field validation Strict, Warn and Ignore, generateName, preconditions, finalizers, grace of pods, propagation Background, Foreground and Orphan; a write that changes nothing keeps the resourceVersion |
| exec, attach | WebSocket v5 and v4, SPDY/3.1 v4; terminals with resize |
| port-forward | SPDY/3.1 and WebSocket (\`SPDY/3.1+portforward.k8s.io\`), TCP |
| logs | follow, tailLines, limitBytes, sinceSeconds, timestamps, previous are handed to the runtime |

## Differences from a cluster

- Authorization: every token may do everything. Access reviews say so; there is no RBAC group.
- Validation is thorough for the policy kinds only. Pods, services and workloads are checked for
  what the lab uses: names, labels, ports, selectors, containers, immutable fields.
- \`kubernetes.io/metadata.name\` is put back on every write of a namespace.
- An ephemeral container (\`kubectl debug\`) is a command in the pod's network, not an image; without a
  command it is \`sh\`, when standard input is asked for.
- Events live for an hour.
- Probes, volumes, images and resource limits are kept and ignored.
- No ConfigMap or Secret is mounted, and pods get no service account token.
- CronJobs can be listed, and there are none: writing one answers 405, \`podwall lab apply\` says that it
  ignores them. Endpoints are written by the server only.
- No quotas, limit ranges, priority classes, admission webhooks, custom resource definitions,
  metrics or leases of controllers.
- A StatefulSet has no volume claims; a DaemonSet binds its pods to nodes itself.
- Old versions are kept for the last 20,000 to 40,000 changes.

## Pods, network and nodes

\`podwall lab up\` gives this API real pods: each is a network namespace with its own addresses.

- A container's command is run when this machine has the program; it sees the machine's files
  read-only, with a /tmp, a /run and a host name of its own. \`agnhost serve-hostname\`, \`netexec\` and \`porter\`
  are played by the lab with their flags and variables, over TCP, UDP and SCTP (not: TLS, which is served
  as plain HTTP, and \`/exit\`, \`/shutdown\`, \`/upload\` of netexec). Every other container gets a listener on each of its ports (TCP 80 when the pod declares
  none) that answers HTTP, UDP or SCTP with the pod's name. This is no sandbox: who is root in a pod is
  root on the machine.
- A command that ends is started again as \`restartPolicy\` says: at once, then after 1 s, 2 s, 4 s up to
  60 s (\`CrashLoopBackOff\`), from the start when it ran for 10 s. Exit codes, restarts, the run before and
  \`logs --previous\` are as in a cluster; no probe is run, so what runs is ready. A shell that ends with 126
  or 127 in a container with ports wanted programs of its image: its ports are answered instead.
- Init containers run in order before the others when this machine has their program and they mount no
  volume, else they are taken as done; sidecars (\`restartPolicy: Always\`) go on beside them. The log of a
  container that is not run says why.
- \`env\` has literal values and fields of the pod (\`fieldRef\`), and \`$(NAME)\` is expanded; nothing comes
  from config maps or secrets.
- \`kubectl delete\` sends SIGTERM to a command and its process group, SIGKILL when the grace is over.
- exec runs any program of the machine in the pod's network; attach reaches a container's command,
  which is \`sh\` for a container with \`stdin\` and no command. \`agnhost connect\` is built in (TCP, UDP, SCTP), with
  the words and exit codes of the image.
- logs hold the last 2,000 to 4,000 lines of a command; listeners log who came, one line a connection
  or datagram.
- A pod becomes Ready when the program of every node has it and its listeners answer; until then its
  address is denied.
- Services: ClusterIP of both families and NodePort, by address translation on the nodes, so that
  policy judges the pod behind; hairpin works. Only ready endpoints count; a service without any is
  refused, as kube-proxy does it. Session affinity, external IPs and traffic policies are ignored.
- DNS: the pod \`kube-system/coredns\` (label \`k8s-app: kube-dns\`) behind 10.96.0.10 answers A and AAAA of
  services, endpoints of headless services, nodes and outside hosts, over UDP and TCP; other names do
  not exist. Programs of containers and of exec find it in their /etc/resolv.conf, those of
  \`podwall lab exec\` do not.
- \`--wiring bridge\`: pods are ports of a bridge per node instead of having a route each. Refused when the
  kernel has no br_netfilter, because policy would not apply between pods of one node.
- \`kubernetes.default\` leads to this API from every pod (192.168.200.1:6443), subject to policy; pods get no
  token, so a program needs one from you.
- \`--masquerade\`: outside hosts see the address of the pod's node. Without it they see the pod's.
- \`--agents\`: every node runs \`podwall agent\` in its own network and reaches this API at
  192.168.200.1:6443 over the wire between the nodes. Without it the lab enforces, with the same
  compiler and the same tables.
- SCTP is emulated: real SCTP packets (handshake, one message each way, CRC32c) on raw sockets, opened by
  a small relay in Perl, because most kernels have no SCTP sockets. conntrack, address translation and
  policy see protocol 132 with ports. Programs of yours that open SCTP sockets need a kernel that has them.
- Missing: programs of hostNetwork pods that leave their process
  group and clear their environment can outlive the pod (not the lab).

## Objects that outlive the lab

\`podwall lab up --state FILE\` keeps every object but events in FILE (JSON, mode 0600: it holds secrets).
It is written whole and atomically, at most every half second while things change, and at
\`podwall lab down\`; a lab that is killed loses what came after the last save. A lab that starts with
FILE has the same nodes and stack, the same objects with their uids, and makes the pods again: they
get addresses of their own, and pods that were being deleted do not come back. resourceVersions go on above every
one handed out before; a watch from before gets 410. Tokens and the certificate are new each time. A damaged
file is refused and left as it is. Two labs must not share a file: the second to write stops saving and says so.

## Clients

| client                      | versions tried | with real pods (\`test/e2e/lab-clients.e2e.test.ts\` and beside it)                                                                                                                                                                                                                                                                                                                          |
| --------------------------- | -------------- | ----------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------- |
| kubectl                     | 1.27 to 1.35   | create, run, apply on both sides, get (\`-o wide\`, \`-w\`), describe, label, annotate, edit, patch, replace, diff, wait, delete, exec (\`-it\` with resize, SPDY and WebSocket), logs (\`-f\`, \`--previous\`), attach, cp, debug, explain, api-resources, auth can-i, port-forward, rollout, scale, set image                                                                                      |
| helm                        | 3.17, 4.1      | install, upgrade, rollback, uninstall, list, with a NetworkPolicy in the chart                                                                                                                                                                                                                                                                                                                 |
| @kubernetes/client-node     | 1.4            | informers whose watch ends, is cut, expires or loses its server; exec; typed objects                                                                                                                                                                                                                                                                                                           |

\`npm test\` uses what the machine has and names what it has not; \`PODWALL_KUBECTL\` and \`PODWALL_HELM\` add
programs. Not tried: client-go programs other than these, cyclonus, Headlamp.

## Faults

\`podwall lab fault\` orders them in a running lab; \`podwall lab fault --help\` lists the words. It speaks to
the admin socket, \`faults.sock\` beside the kubeconfig (a Unix socket, mode 0600), which takes one
JSON order in each POST and answers with JSON. Rules (\`addFault\`) match requests by resource, verb
and user, strike with a probability and at most so many times, and are drawn from a seeded generator.
An order that names an unknown field, resource or value is refused.

| order | effect |
| --- | --- |
| addFault, removeFault, clearFaults, listFaults | rules with \`code\` and \`retryAfterSeconds\`, \`delayMs\`, \`reset\`, \`pageSize\`, \`splitBytes\`, \`cutBytes\`, \`watchForMs\` with \`watchEnd\` (close, reset, expire, stall), \`noBookmarks\`, \`noWatchList\`, \`dropEndBookmark\`, \`duplicate\`, \`lateDeleteMs\`. clearFaults also ends stalls and gives reused addresses back |
| closeWatches, resetWatches, stallWatches, resumeWatches, expireWatches, repeatEvents, replayEvents | open watches, by resource and user |
| compact, skipVersions | history is forgotten; versions jump |
| restart | every connection is cut, new ones are cut for a while |
| rotateToken | a new token for a user, written where the old one was handed out (the kubeconfig; the agents' token file); then the old one gets 401 |
| addToken, revokeToken | a token more, a token less |
| reuseAddress, touch | a pod is said to have the address of another; an event without a change |
`;

const labApiPage = await format(page, { parser: 'markdown', printWidth: 100 });

if (argv.includes('--check')) {
  let old = '';
  try {
    old = readFileSync(path, 'utf8');
  } catch {
    // Not written yet.
  }
  if (old !== labApiPage) {
    stdout.write(
      'docs/reference/lab-api.md is not what the registry says; run scripts/lab-api.ts\n',
    );
    exit(1);
  }
} else writeFileSync(path, labApiPage);
