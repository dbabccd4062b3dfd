/**
 * Short-lived script inside one pod's network: connects to a port of the pod and hands the connection
 * to who asked. Must not read or write it.
 */
import { Socket } from 'node:net';

const port = Number(process.argv[2]);

/** As a container runtime: the pod's own loopback first. */
function dial(hosts: readonly string[]): void {
  const [host, ...others] = hosts;
  const socket = new Socket();
  // What the server says first is for the one who gets the connection.
  socket.pause();
  socket.once('error', (error) => {
    if (others.length > 0) return dial(others);
    process.send?.({ error: error.message }, undefined, {}, () => process.exit(1));
  });
  socket.connect(port, host ?? '127.0.0.1', () => {
    process.send?.({ connected: true }, socket, {}, () => process.exit(0));
  });
}

dial(['127.0.0.1', '::1']);
