//! Agents, teams and pipelines of a bundle together: names first, then what refers to them.

import type { AgentManifest, PipelineManifest, TeamManifest } from "../bundle/composites.ts";
import { agentManifest, teamManifest, type Named } from "./composites.ts";
import type { Dependencies } from "./dependencies.ts";
import type { Diagnostic } from "./diagnostics.ts";
import type { Flows, FoundTool } from "./oracle.ts";
import { circles, Pipeline, type Callables } from "./pipeline.ts";
import { References, type Own } from "./references.ts";

export interface Composites {
  /** Each sorted by name. */
  readonly agents: readonly AgentManifest[];
  readonly teams: readonly TeamManifest[];
  readonly pipelines: readonly PipelineManifest[];
}

export interface Declared {
  readonly bundle: string;
  readonly named: readonly Named[];
  readonly tools: readonly { readonly found: FoundTool; readonly tool: { readonly name: string } }[];
  readonly dependencies: Dependencies;
  readonly flows: Flows;
  /** Errors go here. */
  readonly own: Diagnostic[];
  readonly warnings: Diagnostic[];
}

export function compileComposites({ bundle, named, tools, dependencies, flows, own, warnings }: Declared): Composites {
  const names: Own[] = [...tools.map(({ tool }) => ({ kind: "tool" as const, name: tool.name })), ...named.map(({ found, name }) => ({ kind: found.kind, name }))];
  const references = new References(bundle, names, dependencies, own);
  const of = (kind: Own["kind"]): Named[] => named.filter(({ found }) => found.kind === kind);
  const onClass = ({ found }: Named): string[] => (found.owner === undefined ? [] : tools.filter((one) => one.found.owner === found.owner).map(({ tool }) => tool.name));
  const agents = of("agent").map((one) => agentManifest(one, onClass(one), references));
  const teams = of("team").map((one) => teamManifest(one, references));

  const byName = new Map<string, Pipeline>();
  // What a pipeline gives may be what another one gives, so nobody asks one that is in a circle.
  let circular: ReadonlySet<string> = new Set();
  const callables: Callables = {
    tool: (name: string) => {
      const found = tools.find(({ tool }) => tool.name === name)?.found;
      return found && { input: found.inputType, output: found.outputType };
    },
    pipeline: (name: string) => (circular.has(name) ? "unknown" : (byName.get(name) ?? "unknown")),
  };
  const pipelines = of("pipeline").map((one) => {
    const pipeline = new Pipeline(one, { references, flows, callables, own, warnings });
    byName.set(one.name, pipeline);
    return pipeline;
  });
  circular = circles(byName, own);
  for (const pipeline of pipelines) if (!circular.has(pipeline.named.name)) pipeline.check();
  return { agents: sorted(agents), teams: sorted(teams), pipelines: sorted(pipelines.map((pipeline) => pipeline.manifest())) };
}

function sorted<T extends { readonly name: string }>(items: readonly T[]): T[] {
  return [...items].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}
