import { describe, expect, it } from 'vitest';
import { buildSnapshot } from '../engine/build.ts';
import type { KubeObject } from '../k8s/types.ts';
import { createBackend, NftError } from './backend.ts';
import { compileNode } from './compile.ts';
import { readDrops, readTable } from './listing.ts';
import type { DataplaneOptions, NodeProgram } from './model.ts';
import { applyOperations, transactionText } from './operations.ts';
import type { Transaction } from './operations.ts';
import { isDamaged, plan } from './plan.ts';
import { renderProgram } from './render.ts';
import { copyTable, emptyTable } from './state.ts';
import type { TableState } from './state.ts';

function objects(pods: Readonly<Record<string, string>>, ...policies: object[]): KubeObject[] {
  return [
    { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' }, spec: { podCIDR: '10.1.0.0/24' } },
    ...Object.entries(pods).map(([ip, role]) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `p${ip.split('.')[3]}`, namespace: 'prod', labels: { role } },
      spec: { nodeName: 'n1' },
      status: { phase: 'Running', podIPs: [{ ip }] },
    })),
    ...policies.map((spec, index) => ({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: `policy-${index}`, namespace: 'prod' },
      spec,
    })),
  ];
}

function program(
  list: readonly KubeObject[],
  options: Partial<DataplaneOptions> = {},
): NodeProgram {
  return compileNode(buildSnapshot(list.map((object) => ({ object }))).snapshot, 'n1', options);
}

function installed(desired: NodeProgram): TableState {
  const state = emptyTable('podwall');
  for (const { operations } of plan(desired, [], 7)) applyOperations(state, operations);
  return state;
}

const fromWeb = {
  podSelector: { matchLabels: { role: 'db' } },
  ingress: [{ from: [{ podSelector: { matchLabels: { role: 'web' } } }], ports: [{ port: 80 }] }],
};
const fromWebAndApp = {
  podSelector: { matchLabels: { role: 'db' } },
  ingress: [
    {
      from: ['web', 'app'].map((role) => ({ podSelector: { matchLabels: { role } } })),
      ports: [{ port: 80 }],
    },
  ],
};
const base = { '10.1.0.2': 'db', '10.1.0.3': 'web' };

/** Phases with the kinds of their operations. */
function outline(transactions: readonly Transaction[]): string[] {
  return transactions.map(
    ({ phase, operations }) => `${phase}: ${operations.map(({ kind }) => kind).join(' ')}`,
  );
}

describe('order of transactions', () => {
  it('a new table is built first and hooked in afterwards', () => {
    const transactions = plan(program(objects(base, fromWeb)), [], 7);
    expect(transactions.map(({ phase }) => phase)).toEqual(['prepare', 'switch']);
    expect(outline(transactions)[1]).toBe('switch: hooks');
  });

  it('the same program again needs none', () => {
    const desired = program(objects(base, fromWeb));
    expect(plan(desired, [installed(desired)], 1)).toEqual([]);
  });

  it('a pod more: one transaction, nothing revoked', () => {
    const state = installed(program(objects(base, fromWeb)));
    const desired = program(objects({ ...base, '10.1.0.4': 'web' }, fromWeb));
    expect(outline(plan(desired, [state], 1))).toEqual([
      'switch: add-members add-locals point point',
    ]);
  });

  it('a pod less: one transaction with the epoch', () => {
    const state = installed(program(objects({ ...base, '10.1.0.4': 'web' }, fromWeb)));
    const desired = program(objects(base, fromWeb));
    expect(outline(plan(desired, [state], 1))).toEqual([
      'revoke: delete-members point point delete-locals epoch',
    ]);
  });

  it('a label moved from one set to another: added first, removed in a commit of its own', () => {
    const state = installed(program(objects(base, fromWebAndApp)));
    const desired = program(objects({ ...base, '10.1.0.3': 'app' }, fromWebAndApp));
    expect(outline(plan(desired, [state], 1))).toEqual([
      'switch: add-members',
      'revoke: delete-members epoch',
    ]);
  });

  it('a changed policy: build, switch, collect', () => {
    const state = installed(program(objects(base, fromWeb)));
    const transactions = plan(program(objects(base, fromWebAndApp)), [state], 1);
    expect(outline(transactions)).toEqual([
      'prepare: add-group add-chain add-chain',
      'switch: point epoch',
      'collect: delete-chain delete-chain',
    ]);
  });

  it('what is reused before it was collected is brought up to date before anything points to it', () => {
    const state = installed(program(objects(base, fromWeb)));
    for (const transaction of plan(program(objects(base)), [state], 1))
      if (transaction.phase !== 'collect') applyOperations(state, transaction.operations);
    const desired = program(
      objects({ '10.1.0.2': 'db', '10.1.0.3': 'x', '10.1.0.4': 'web' }, fromWeb),
    );
    expect(outline(plan(desired, [state], 1))).toEqual([
      'prepare: add-members delete-members',
      'switch: add-locals point point point epoch',
    ]);
  });

  it('a changed frame: a second table, hooked in before the first goes; the epoch goes on', () => {
    const before = program(objects(base, fromWeb));
    const state = installed(before);
    const transactions = plan(program(objects(base, fromWeb), { unknownPod: 'allow' }), [state], 1);
    expect(transactions.map(({ phase, table }) => `${phase} ${table}`)).toEqual([
      'prepare podwall_b',
      'switch podwall_b',
      'collect podwall',
      'collect podwall',
    ]);
    // Packets inside the old table must find its maps: its hooks go first.
    expect(outline(transactions).slice(2)).toEqual(['collect: unhook', 'collect: delete-table']);
    expect(transactions[0]?.operations[0]).toMatchObject({ kind: 'frame', epoch: 8 });
  });

  it('an agent killed in the middle of that goes on where it can', () => {
    const before = program(objects(base, fromWeb));
    const after = program(objects(base, fromWeb), { unknownPod: 'allow' });
    const steps = plan(after, [installed(before)], 1);
    for (let done = 0; done <= steps.length; done++) {
      const tables = [installed(before)];
      const run = (transaction: Transaction): void => {
        const at = tables.findIndex(({ table }) => table === transaction.table);
        if (transaction.operations[0]?.kind === 'delete-table') tables.splice(at, 1);
        else {
          const table = tables[at] ?? emptyTable(transaction.table);
          if (at < 0) tables.push(table);
          applyOperations(table, transaction.operations);
        }
        // Something enforces at every moment.
        expect(tables.some(({ hooked }) => hooked)).toBe(true);
      };
      for (const step of steps.slice(0, done)) run(step);
      for (const step of plan(after, tables, 1)) run(step);
      expect(tables).toHaveLength(1);
      expect(plan(after, tables, 1)).toEqual([]);
    }
  });

  it('the last epoch is followed by none: every packet is judged until marks are swept', () => {
    const state = installed(
      program(objects({ ...base, '10.1.0.4': 'web' }, fromWeb), { markMask: 0xff }),
    );
    state.epoch = 255;
    const desired = program(objects(base, fromWeb), { markMask: 0xff });
    const [transaction] = plan(desired, [state], 1);
    expect(transaction?.operations.at(-1)).toEqual({ kind: 'epoch', from: 255, to: 0 });
    expect(transactionText(transaction as Transaction, desired)).toContain(
      'flush chain inet podwall c_est\nflush chain inet podwall c_ok\nadd rule inet podwall c_ok accept\n',
    );
  });
});

describe('text of transactions', () => {
  it('nothing is named before it exists, in any script', () => {
    const desired = program(objects(base, fromWebAndApp));
    const known = new Set<string>();
    for (const transaction of plan(desired, [], 1)) {
      const text = transactionText(transaction, desired);
      for (const found of text.matchAll(/^ {2}(?:chain|set|map) (\w+)/gm))
        known.add(found[1] as string);
      for (const found of text.matchAll(/(?:goto|jump) (\w+)|@(\w+)/g))
        expect(known).toContain(found[1] ?? found[2]);
    }
  });

  it('a repointed pod: deletion and addition in one transaction', () => {
    const state = installed(program(objects(base)));
    const desired = program(objects(base, { podSelector: { matchLabels: { role: 'db' } } }));
    const [transaction] = plan(desired, [state], 1);
    expect(transactionText(transaction as Transaction, desired)).toBe(
      `flush chain inet podwall c_est
add rule inet podwall c_est ct state established ct mark & 0xffff0000 == 0x80000 accept
flush chain inet podwall c_ok
add rule inet podwall c_ok ct mark set ct mark & 0xffff | 0x80000 accept
delete element inet podwall epoch { 7 }
add element inet podwall epoch { 8 }
delete element inet podwall in4 { 10.1.0.2 }
add element inet podwall in4 { 10.1.0.2 : goto d_in }
delete element inet podwall in4_n { 10.1.0.2 }
add element inet podwall in4_n { 10.1.0.2 : goto d_in }
`,
    );
  });
});

describe('reading nft’s listing', () => {
  it('sets, maps over several lines, epoch, pod ranges', () => {
    const state = readTable(
      'podwall',
      `table inet podwall {
	set local4 {
		type ipv4_addr
		elements = { 10.1.0.2,
			     10.1.0.3 }
	}

	set epoch {
		type mark
		elements = { 0x0000001a }
	}

	set r4_0123456789abcdef01234567 {
		type ipv4_addr
		flags interval
		elements = { 10.0.0.0/8, 11.0.0.1, 12.0.0.0-12.0.0.4 }
	}

	map in4 {
		type ipv4_addr : verdict
		elements = { 10.1.0.2 : goto i_0123456789abcdef01234567, 10.1.0.3 : goto c_ok }
	}

	chain frame_0123456789abcdef01234567 {
	}

	chain c_in {
		ct reply ip saddr vmap @in4
		ct reply ip saddr 10.1.0.0/24 goto u_in
		ct reply ip6 saddr fd00::1 goto u_in
		goto c_ok
	}

	chain i_0123456789abcdef01234567 {
		ct original ip saddr @r4_0123456789abcdef01234567 goto c_ok
		goto d_in
	}

	chain h_forward {
		type filter hook forward priority filter - 5; policy accept;
		jump c_est
	}
}
`,
    );
    expect(state.hooked).toBe(true);
    expect(state.frameId).toBe('frame_0123456789abcdef01234567');
    expect(state.epoch).toBe(26);
    expect(state.ranges).toBe('10.1.0.0/24 fd00::1/128');
    expect(state.locals[4]).toEqual(new Set(['10.1.0.2', '10.1.0.3']));
    expect(state.dispatch.Ingress[4]).toEqual(
      new Map([
        ['10.1.0.2', 'i_0123456789abcdef01234567'],
        ['10.1.0.3', 'c_ok'],
      ]),
    );
    expect(state.groups.get('r4_0123456789abcdef01234567')?.elements).toEqual(
      new Set(['10.0.0.0-10.255.255.255', '11.0.0.1', '12.0.0.0-12.0.0.4']),
    );
    expect(state.chains.get('i_0123456789abcdef01234567')).toEqual({
      refs: new Set(['r4_0123456789abcdef01234567', 'c_ok', 'd_in']),
      ruleCount: 2,
    });
  });

  it('a program whose two forms differ is damaged', () => {
    const desired = program(objects(base, fromWeb));
    const listed = (text: string): TableState => readTable('podwall', text);
    // What nft prints: one thing a line.
    const written = renderProgram(desired)
      .replace(/\{ (type|elements) /g, '{\n$1 ')
      .replace(/; (elements|size) /g, ';\n$1 ')
      .replace(/; \}$/gm, '\n}')
      .replace(/; \}/g, '\n}');
    expect(listed(written).formsDiffer).toBe(false);
    expect(listed(written).chains.size).toBeGreaterThan(0);
    const target = /10\.1\.0\.2 : goto (i_\w{24})_n/.exec(written)?.[1] as string;
    for (const [what, by] of [
      [`chain ${target}_n {`, `chain other {`],
      [`chain ${target}_n {`, `chain ${target}_n {\naccept`],
    ] as const) {
      const tampered = listed(written.replace(what, by));
      expect(tampered.formsDiffer, what).toBe(true);
      expect(isDamaged(desired, tampered)).toBe(true);
    }
    const moved = listed(written.replace(`10.1.0.2 : goto ${target}_n`, '10.9.9.9 : goto c_ok'));
    expect(moved.formsDiffer).toBe(false);
    expect(moved.packetDispatch?.Ingress[4].get('10.9.9.9')).toBe('c_ok');
    expect(moved.dispatch.Ingress[4].has('10.9.9.9')).toBe(false);
  });

  it.each([
    ['in4', 'in4_n'],
    ['in4_n', 'in4'],
  ])('a pod that only %s points elsewhere is mended in place', (wrong, right) => {
    const desired = program(objects(base, fromWeb));
    const state = emptyTable('podwall');
    for (const { operations } of plan(desired, [], 7)) applyOperations(state, operations);
    state.packetDispatch = copyTable(state).dispatch;
    const { dispatch, packetDispatch } = state;
    const map = (wrong === 'in4' ? dispatch : packetDispatch).Ingress[4];
    map.delete('10.1.0.2');
    map.set('10.9.9.9', 'c_ok');
    const transactions = plan(desired, [state], 1);
    const text = transactions.map((one) => transactionText(one, desired)).join('');
    expect(text).toContain(`delete element inet podwall ${wrong} { 10.9.9.9 }`);
    expect(text).toContain(`delete element inet podwall ${right} { 10.1.0.2 }`);
    expect(text).not.toContain(`delete element inet podwall ${wrong} { 10.1.0.2 }`);
    expect(text).toContain(`add element inet podwall ${wrong} { 10.1.0.2 : goto i_`);
    for (const { operations } of transactions) applyOperations(state, operations);
    expect(plan(desired, [state], 1)).toEqual([]);
  });

  it('denied flows', () => {
    const listing = `table inet podwall {
	set oi4 {
		type ipv4_addr . ipv4_addr . inet_proto . inet_service
		size 65536
		flags dynamic,timeout
		timeout 10m
		elements = { 10.1.0.3 . 10.1.0.2 . tcp . 80 counter packets 3 bytes 180 expires 9m58s20ms,
			     10.1.0.4 . 10.1.0.2 . udp . 53 counter packets 1 bytes 60 expires 9m58s20ms }
	}
	set oe6x {
		type ipv6_addr . ipv6_addr . inet_proto
		elements = { fd00::2 . fd00::3 . ipv6-icmp counter packets 2 bytes 208 expires 9m }
	}
}
`;
    expect(readDrops(listing)).toEqual([
      {
        family: 4,
        direction: 'Ingress',
        source: '10.1.0.3',
        destination: '10.1.0.2',
        protocol: 'TCP',
        port: 80,
        packets: 3,
      },
      {
        family: 4,
        direction: 'Ingress',
        source: '10.1.0.4',
        destination: '10.1.0.2',
        protocol: 'UDP',
        port: 53,
        packets: 1,
      },
      {
        family: 6,
        direction: 'Egress',
        source: 'fd00::2',
        destination: 'fd00::3',
        protocol: 'ipv6-icmp',
        packets: 2,
      },
    ]);
  });
});

describe('backend', () => {
  it('reports nft’s words when it refuses', async () => {
    const backend = createBackend({
      nft: async (script) =>
        script.startsWith('list')
          ? { code: 1, stdout: '', stderr: 'Error: No such file or directory\n' }
          : { code: 1, stdout: '', stderr: 'Error: Operation not permitted\nmore\n' },
    });
    const refused = backend.apply(program(objects(base)));
    await expect(refused).rejects.toBeInstanceOf(NftError);
    await expect(refused).rejects.toThrow(
      'nft: prepare transaction failed: Error: Operation not permitted',
    );
  });

  it('reads the kernel again and goes on when a transaction fails on a wrong belief', async () => {
    let fail = false;
    const scripts: string[] = [];
    const backend = createBackend({
      collectAfterMs: 0,
      nft: async (script) => {
        scripts.push(script.split(' ', 1)[0] as string);
        if (script.startsWith('list'))
          return { code: 1, stdout: '', stderr: 'Error: No such file or directory' };
        const code = fail ? 1 : 0;
        fail = false;
        return { code, stdout: '', stderr: code === 0 ? '' : 'Error: No such file or directory' };
      },
    });
    await backend.apply(program(objects(base, fromWeb)));
    fail = true;
    const report = await backend.apply(program(objects(base)));
    expect(report.reread).toBe(true);
    expect(report.transactions.map(({ phase }) => phase)).toEqual(['prepare', 'switch']);
  });

  it('sweeps marks when epochs have run out, and starts again at one', async () => {
    const swept: number[] = [];
    const backend = createBackend({
      options: { markMask: 0xff },
      collectAfterMs: 0,
      sweepMarks: async (mask) => {
        swept.push(mask);
      },
      nft: async (script) =>
        script.startsWith('list')
          ? { code: 1, stdout: '', stderr: 'No such file or directory' }
          : { code: 0, stdout: '', stderr: '' },
    });
    const programs = [fromWeb, fromWebAndApp].map((spec) =>
      program(objects(base, spec), { markMask: 0xff }),
    );
    let last = 0;
    let report = await backend.apply(programs[0] as NodeProgram);
    for (let i = 1; swept.length === 0 && i < 300; i++) {
      last = report.epoch;
      report = await backend.apply(programs[i % 2] as NodeProgram);
      if (report.epoch === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(last).toBe(255);
    expect(report.epoch).toBe(0);
    expect(swept).toEqual([0xff]);
    expect((await backend.apply(programs[0] as NodeProgram)).epoch).toBeLessThan(3);
    expect((await backend.apply(programs[1] as NodeProgram)).epoch).toBeGreaterThan(0);
  });

  it('marks that cannot be swept: every packet stays judged, updates go on, it is said', async () => {
    const failures: unknown[] = [];
    const backend = createBackend({
      options: { markMask: 0xff },
      collectAfterMs: 0,
      sweepMarks: () => Promise.reject(new Error('no conntrack')),
      onSweepFailure: (error) => failures.push(error),
      nft: async (script) =>
        script.startsWith('list')
          ? { code: 1, stdout: '', stderr: 'No such file or directory' }
          : { code: 0, stdout: '', stderr: '' },
    });
    const programs = [fromWeb, fromWebAndApp].map((spec) =>
      program(objects(base, spec), { markMask: 0xff }),
    );
    let report = await backend.apply(programs[0] as NodeProgram);
    for (let i = 1; report.epoch !== 0 && i < 300; i++)
      report = await backend.apply(programs[i % 2] as NodeProgram);
    while (failures.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    for (let i = 0; i < 3; i++)
      expect((await backend.apply(programs[i % 2] as NodeProgram)).epoch).not.toBe(1);
    expect(failures).toEqual([expect.objectContaining({ message: 'no conntrack' })]);
  });

  it('a new table while epochs have run out goes on without: old marks are still there', () => {
    const old = emptyTable('podwall');
    const desired = program(objects(base, fromWeb));
    for (const { operations } of plan(desired, [], 7)) applyOperations(old, operations);
    old.epoch = 0;
    const next = program(objects(base, fromWeb), { deny: 'reject' });
    const [first] = plan(next, [old], 9);
    expect(first?.operations[0]).toMatchObject({ kind: 'frame', epoch: 0 });
    old.epoch = 0xffff;
    expect(plan(next, [old], 9)[0]?.operations[0]).toMatchObject({ kind: 'frame', epoch: 0 });
  });
});
