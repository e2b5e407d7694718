// Types of the page, for `make check` alone: never served and never packaged. Bodies come from docs/openapi.json through
// openapi-typescript; a path that the service does not have, and a query or a body that it does not know, are errors.

type Paths = import("../../node_modules/.cache/openapi").paths;
type Schemas = import("../../node_modules/.cache/openapi").components["schemas"];

type Dataset = Schemas["DatasetBody"];
type Job = Schemas["JobBody"];
type JobEvent = Omit<Schemas["EventBody"], "data"> & { data: { [name: string]: any } };  // each type of event has data of its own
type ImageOf = Schemas["ImageBody"];
type LeaveOneOut = Schemas["LeaveOneOutBody"];
type Scope = NonNullable<Schemas["SessionBody"]["scope"]>;

// Paths with a placeholder for each parameter, as a template literal in a call has them too: `/jobs/${id}` is "/jobs/{}".
type Segment<S extends string> = string extends S ? "{}" : `${number}` extends S ? "{}" : S;
type Called<P extends string> = P extends `${infer Head}/${infer Rest}` ? `${Segment<Head>}/${Called<Rest>}` : Segment<P>;
type Declared<P> = P extends `${infer Head}{${string}}${infer Rest}` ? `${Head}{}${Declared<Rest>}` : P;
type Routes = { [P in keyof Paths as Declared<P>]: Paths[P] };
type Operation<P extends string, M extends string> =
  Called<P> extends keyof Routes ? (M extends keyof Routes[Called<P>] ? Routes[Called<P>][M] : never) : never;

type ContentOf<R> = R extends { content: { "application/json": infer B } } ? B : null;
/** The body of an answer: null where it has none. */
type Answer<P extends string, M extends string> =
  Operation<P, M> extends { responses: infer R } ? { [S in keyof R]: S extends 200 | 201 | 202 | 204 ? ContentOf<R[S]> : never }[keyof R] : never;
/** The query that a route takes; what is null or false is left out. A path without a route takes none, not even an empty one. */
type Query<P extends string> = [Operation<P, "get">] extends [never] ? never :
  Operation<P, "get"> extends { parameters: { query?: infer Q } } ? Optional<NonNullable<Q>> : {};
type Optional<Q> = [Q] extends [never] ? {} : { [N in keyof Q]?: Q[N] | null | false };
/** A row of a route's pages. */
type Row<P extends string> = Answer<P, "get"> extends { data: (infer R)[] } ? R : never;
/** The JSON that a route takes. */
type Sent<P extends string, M extends string> = [Operation<P, M>] extends [never] ? never :
  Operation<P, M> extends { requestBody?: infer B } ? (NonNullable<B> extends { content: { "application/json": infer J } } ? J : undefined) : undefined;

type Vote = { label: string | null, confidence: number };
/** A model's map: columns with a row for each image, and the votes so far. */
type Columns = Schemas["MapBody"] & { rowOf: Map<number, number>, rounds: number, predicted: Map<number, Vote> };
/** What narrows a wall, a map or a search, by the API's names. */
type Filter = {
  label: string[], unlabelled: boolean, anchor_round: number | null,
  min_entropy: number | null, max_entropy: number | null, entropy_round: number | null,
};
/** What an address changes, by name. */
type Changes = { [name: string]: string | number | boolean | string[] | null | undefined };

/** What stands under an image of a wall. */
type Note = { text: string, kind?: string };

type Child = Node | string | number | null | undefined | false | readonly Child[];
type Value = string | number | boolean | null | undefined;
type Listeners = { [N in keyof HTMLElementEventMap as `on${N}`]?: (event: HTMLElementEventMap[N]) => unknown };
/** Properties of an element; the names are listed so that a misspelled one is found. */
type Properties = Listeners & { [name in `aria-${string}` | Attribute]?: Value };
type Attribute = "accept" | "alt" | "autocomplete" | "autofocus" | "checked" | "class" | "decoding" | "disabled" | "download" | "draggable"
  | "for" | "hidden" | "href" | "id" | "label" | "list" | "loading" | "max" | "maxlength" | "min" | "multiple" | "name" | "open"
  | "placeholder" | "rel" | "required" | "role" | "scope" | "src" | "step" | "tabindex" | "target" | "title" | "type" | "value"
  | "webkitdirectory";

type Place = [number, number];
type Extent = [number, number];  // the least and the most
/** Rows of the map with one colour. */
type Group = { key: string, name: string, colour: string, rows: number[] };
type Trace = { x: unknown[], [name: string]: unknown };
type Layout = { [name: string]: unknown };
type Plotly = {
  react(element: HTMLElement, traces: Trace[], layout: Layout, config: object): Promise<void>,
  purge(element: HTMLElement): void,
};
interface Window {
  Plotly?: Plotly;
}
declare const SwaggerUIBundle: (options: object) => void;

/** A file with its path in what was chosen or dropped. */
type Entry = { path: string, file: File };
type Gather = (found: (count: number) => void, signal: AbortSignal) => Promise<{ entries: Entry[], unread: string[] }>;
/** A view: what stands on the page. Its `id` is a text where the address has to have one, and else may be null. */
type View = { show(id: any, query: URLSearchParams, signal: AbortSignal): Promise<(Node | string)[]> };
