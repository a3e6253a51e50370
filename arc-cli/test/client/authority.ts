//! A device's authority for tests, made by openssl: another implementation than the one under test.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { X509Certificate } from "node:crypto";
import { newDir } from "../cli/drive.ts";

export interface Leaf {
  readonly certificate: string;
  readonly key: string;
}

export class Authority {
  readonly dir = newDir();
  readonly pem: string;
  #serial = 0;

  constructor(name: string) {
    openssl(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", this.#path("ca.key"), "-out", this.#path("ca.pem"), "-days", "30", "-subj", `/CN=${name} device CA`]);
    this.pem = readFileSync(this.#path("ca.pem"), "utf8");
  }

  get fingerprint(): string {
    return new X509Certificate(this.pem).fingerprint256.replaceAll(":", "").toLowerCase();
  }

  server(names: readonly string[]): Leaf {
    const at = this.#path(`server${this.#serial++}`);
    openssl(["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", `${at}.key`, "-out", `${at}.csr`, "-subj", `/CN=${names[0]}`]);
    const certificate = this.#sign(at, `subjectAltName=${names.map((name) => `DNS:${name}`).join(",")},IP:127.0.0.1\nextendedKeyUsage=serverAuth\n`, 10);
    return { certificate: certificate + this.pem, key: readFileSync(`${at}.key`, "utf8") };
  }

  /** Signs a request as a device would. `days` below zero: already expired. */
  sign(csrDer: Uint8Array, subject: string, days = 10): string {
    const at = this.#path(`client${this.#serial++}`);
    writeFileSync(`${at}.der`, csrDer);
    openssl(["req", "-inform", "DER", "-in", `${at}.der`, "-verify", "-out", `${at}.csr`]);
    return this.#sign(at, "extendedKeyUsage=clientAuth\n", days, subject);
  }

  #sign(at: string, extensions: string, days: number, subject?: string): string {
    writeFileSync(`${at}.ext`, extensions);
    const named = subject === undefined ? [] : ["-subj", `/CN=${subject}`];
    openssl(["x509", "-req", "-in", `${at}.csr`, "-CA", this.#path("ca.pem"), "-CAkey", this.#path("ca.key"), "-CAcreateserial", "-days", String(days), "-extfile", `${at}.ext`, "-out", `${at}.pem`, ...named]);
    return readFileSync(`${at}.pem`, "utf8");
  }

  #path(name: string): string {
    return join(this.dir, name);
  }
}

export function openssl(args: readonly string[]): string {
  const ran = Bun.spawnSync(["openssl", ...args], { stdin: "ignore" });
  if (ran.exitCode !== 0) throw new Error(`openssl ${args.join(" ")}: ${ran.stderr.toString()}`);
  return ran.stdout.toString() + ran.stderr.toString();
}
