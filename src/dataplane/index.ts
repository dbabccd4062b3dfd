/** The dataplane: a snapshot compiled for one node, and the backends that make a kernel obey it. */
export { compileNode } from './compile.ts';
export { createNodeCompiler } from './incremental.ts';
export type { NodeCompiler, NodeCompilerOptions } from './incremental.ts';
export { createBackend, NftError } from './backend.ts';
export type { ApplyReport, Backend, BackendOptions } from './backend.ts';
export { defaultDataplaneOptions } from './model.ts';
export type { DataplaneOptions, Drop, LocalPod, NodeProgram, ProgramDelta } from './model.ts';
export { conntrackSweeper } from './marks.ts';
export { renderProgram } from './render.ts';
export { interactiveRunner, spawnRunner } from './runner.ts';
export type { InteractiveRunner, NftResult, NftRunner, RunnerOptions } from './runner.ts';
export { createMemoryBackend, simulate } from './simulate.ts';
export type { MemoryBackend, Packet, Path, SimulatedVerdict } from './simulate.ts';
