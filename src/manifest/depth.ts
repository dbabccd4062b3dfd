/** How deep documents may be nested. Must not know how they are written. */

/**
 * Kubernetes objects nest some thirty levels; every consumer of the values may recurse. The quick
 * reader leaves deeper ones to the full parser, which says what is wrong.
 */
export const MAX_DEPTH = 200;
