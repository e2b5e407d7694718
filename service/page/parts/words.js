// The service's codes in a person's words.

import { sentence } from "./dom.js";

/** @type {{ [kind in Schemas["JobKind"]]: string }} */
export const KINDS = {
  ingest: "checking an upload", train: "training", embed: "taking in new images", classify: "classes by votes",
  compact: "tidying up after deletions", attention: "where encoders look",
};

/**
 * The parts of a training: `[code, title, what happens in it]`. In this order where judging chooses what is published; else it
 * comes last.
 */
export const PHASES = [
  ["preparing", "Preparing", "the images are read"], ["training", "Training", "the encoder learns"],
  ["exporting", "Exporting", "the encoder is written down"], ["evaluating", "Evaluating", "the result is judged"],
  ["indexing", "Indexing", "the images are made searchable"], ["publishing", "Publishing", "the result is put in its place"],
];
const [EVALUATING] = PHASES.filter(([code]) => code === "evaluating");
export const PUBLISHED_FIRST = [...PHASES.filter((phase) => phase !== EVALUATING), EVALUATING];

/** @type {{ [code: string]: string }} */
const REFUSED = {
  not_an_image: "This is not a picture, or one of a kind that is not read here.",
  truncated: "The file is cut off: a part of the picture is missing.",
  damaged: "The file is damaged.",
  too_many_pixels: "The picture is too large.",
  too_much_work: "It would take too long to open this picture.",
  too_large: "The file is too large.",
  duplicate: "The same picture is in it already.",
  repeated_path: "Another picture has this name.",
  unsafe_path: "Its name or folder cannot be used.",
  link: "This is a link to another file, not a file.",
  special_file: "This is a device or something of the kind, not a file.",
  nested_archive: "An archive within the archive: unpack it first.",
  empty_folder: "There is no file in this folder.",
  encrypted: "It is protected by a password: upload it without one.",
  unsupported_compression: "It is packed in a way that is not read here.",
  unreadable: "The file could not be read.",
  decoding_timeout: "It took too long to open this picture.",
  decoder_crashed: "This picture could not be opened.",
};

/**
 * Why a file was refused; what has no words here is said as the service says it.
 * @param {{ code: string, reason: string }} file
 */
export const whyRefused = ({ code, reason }) => REFUSED[code] ?? `${sentence(reason)}.`;

/**
 * What happened, of a job.
 * @type {{ [type: string]: string }}
 */
export const EVENTS = {
  queued: "waits", running: "begins", started: "has its images", epoch: "epoch", round: "round", warning: "warning",
  evaluating: "is judged", exporting: "is exported", finished: "has learned", publishing: "is published", published: "can be searched", succeeded: "succeeded",
  failed: "failed", cancelled: "cancelled",
};
