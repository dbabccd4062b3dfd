/** Vitest reporter: the one closing line that counts tests, and every skipped test with its reason. */
import type { Reporter, TestModule } from 'vitest/node';

export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const count = { passed: 0, failed: errors.length, skipped: 0 };
    for (const module of modules) {
      let tests = 0;
      for (const test of module.children.allTests()) {
        tests += 1;
        const { state } = test.result();
        if (state === 'passed') count.passed += 1;
        else if (state === 'failed') count.failed += 1;
        else {
          count.skipped += 1;
          const note = test.result().state === 'skipped' ? skipReason(test.result()) : 'not run';
          console.log(`skipped: ${test.fullName}: ${note}`);
        }
      }
      if (tests === 0 && module.state() === 'failed') count.failed += 1;
    }
    console.log(`\n${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
  }
}

function skipReason(result: object): string {
  const note = 'note' in result ? result.note : undefined;
  return typeof note === 'string' && note !== '' ? note : 'see the line "not run" of its file';
}
