// C33 to C36: one program with one net token, on a device whose names are all in its configuration, so that nothing is ever looked up
// outside. The allowed host answers on an address of its own; everything forbidden leads to a listener that must stay untouched.

import { join } from "node:path";
import { root, startHost } from "../../stand/host.ts";
import { exec } from "../device.ts";
import { judge } from "../verdict.ts";
import { type Driver, Findings } from "./driver.ts";

const PROGRAM = join(root, "tests/hostile/cases/_egress.ts");
const ALLOWED = "127.77.77.77";
const NAMES: Record<string, string> = {
  "allowed.test": ALLOWED, "other.test": "127.0.0.1", "loop.test": "127.0.0.1", "loop6.test": "::1", "meta.test": "169.254.169.254", "private.test": "10.1.2.3", "mapped.test": "::ffff:127.0.0.1",
  "cgnat.test": "100.64.0.1", "zero.test": "0.0.0.0", "ula.test": "fd00::1", "nat64.test": "64:ff9b::7f00:1", "linklocal.test": "fe80::1", "broadcast.test": "255.255.255.255", "multicast.test": "224.0.0.1",
};

export const egress: Driver = {
  name: "C33-C36 egress",
  attack: "reach any host but the granted one: other names, ports and spellings, addresses, redirects, names of private addresses, lookups",
  holds: "the egress proxy behind the door (ariad), network-namespace",
  where: "host",
  heavy: false,
  async run() {
    const findings = new Findings();
    const arrived: string[] = [];
    const allowed = Bun.serve({
      hostname: ALLOWED, port: 0,
      fetch(request) {
        const url = new URL(request.url);
        arrived.push(`${request.method} ${request.headers.get("host")} ${url.pathname}`);
        if (url.pathname === "/redirect") return new Response(null, { status: 302, headers: { location: url.searchParams.get("to") ?? "/" } });
        if (url.pathname === "/again") return new Response(null, { status: 302, headers: { location: "/again" } });
        return new Response("allowed");
      },
    });
    let touched = 0;
    const trap = { open: (): void => void (touched += 1), data: (): void => {} };
    const forbidden = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: trap });
    const forbidden6 = Bun.listen({ hostname: "::1", port: forbidden.port, socket: trap });
    const host = await startHost({
      quiltToml: '[[policy]]\nname = "hosts of the egress test"\nkinds = ["net"]\n',
      ariaToml: `[net]\nallow_addresses = ["${ALLOWED}/32"]\n[net.hosts]\n${Object.entries(NAMES).map(([name, address]) => `"${name}" = "${address}"`).join("\n")}\n`,
    });
    try {
      const tokens = [`net:allowed.test:${allowed.port}`, ...Object.keys(NAMES).filter((name) => !["allowed.test", "other.test"].includes(name)).map((name) => `net:${name}:${forbidden.port}`)];
      const device = { kind: "host" as const, configDir: host.configDir, host, stop: () => host.stop() };
      for (const [profile, half] of [["tool", "raw"], ["tool-noexec", "raw"], ["tool", "clients"], ["tool-noexec", "clients"], ["tool-nojit", "clients"]] as const) {
        const result = await exec(device, PROGRAM, [...tokens.flatMap((token) => ["--token", token]), "--profile", profile, "--timeout", "90s"], 150_000, [String(allowed.port), String(forbidden.port), half]);
        const verdict = judge(result, undefined);
        findings.check(`${half} holds in ${profile}`, verdict.pass && result.lines.length > 0, `${verdict.detail} ${JSON.stringify(result.ended)}`);
      }
      findings.check("no forbidden listener was touched", touched === 0, touched);
      findings.check("the allowed host was reached", arrived.length > 0);
      const odd = arrived.filter((line) => !/^[A-Z]+ allowed\.test:\d+ \/(redirect|again)?$/.test(line));
      findings.check("only requests for the allowed host arrived", odd.length === 0, odd.join(", "));
    } finally {
      await host.stop();
      await allowed.stop(true);
      forbidden.stop(true);
      forbidden6.stop(true);
    }
    return findings.verdict(`${arrived.length} requests arrived`);
  },
};
