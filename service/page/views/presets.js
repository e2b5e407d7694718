// The parameters of a training job that matter most, as docs/presets.md explains them.

export const FROZEN = ["frozen", "Only make it searchable", "Seconds to minutes: nothing is trained; what is already learned is "
  + "taken as it is."];
export const PRESETS = [
  ["quick", "Quick", "Minutes on an ordinary computer. To see what a collection holds."],
  ["best", "Best", "Hours on an ordinary computer, less with a GPU. Only where one starts from nothing: else it does no more than "
    + "the one above."],
  ["paper", "Paper", "Hours, with a GPU: as published, ResNet-18, five rounds of 200 epochs, from nothing."],
  ["released", "Released", "Hours, with a GPU: as the authors' code is; the learning rate falls later and nothing is mirrored."],
  ["large", "Large", "Days, with GPUs: hundreds of thousands of photographs or more, at 224 pixels, from nothing."],
  ["fine-grained", "Fine-grained", "Hours, with a GPU: as published, at 224 pixels, for kinds that differ in small parts."],
];
export const FROM_NOTHING = ["bigan", "splitbrain", "random"];  // methods that start from random weights
export const PUBLISHED = ["paper", "released", "large", "fine-grained"];

/**
 * What a choice is called; one without a name here is shown by its code.
 * @type {{ [code: string]: string }}
 */
export const CALLED = {
  and: "AND, by anchor neighbourhoods", instance: "Instance discrimination", random_anchors: "AND with random anchors",
  all_anchors: "AND with every image an anchor", superand: "Super-AND", instance_nce: "Instance discrimination by NCE", simclr: "SimCLR",
  deepcluster: "DeepCluster", splitbrain: "Split-Brain (needs colours)", bigan: "BiGAN", supervised: "Supervised (reads the labels!)",
  random: "Untrained", frozen: "Frozen",
  resnet10: "ResNet-10, small", resnet18: "ResNet-18", resnet34: "ResNet-34", resnet50: "ResNet-50", efficientnet_lite0: "EfficientNet-Lite0",
  union: "their summed probability, as published", mean: "each of them by itself",
};

/**
 * Groups of `[code, label, explanation, step]`: bounds and choices are those of the service's description, which `{min}` and `{max}` of
 * an explanation stand for. The step is the control's own.
 * @type {[string, [string, string, string, number?][]][]}
 */
export const GROUPS = [
  ["How long it learns", [
    ["rounds", "Rounds", "The first tells all images apart, or is what was already learned as it is; each later one brings more "
      + "look-alikes together. {min} to {max}."],
    ["epochs_first", "Epochs of round 0", "How often every image is seen in the first round; by the preset chosen from the number "
      + "of images. 0, to begin with what was already learned."],
    ["epochs", "Epochs of each later round", "How often every image is seen in each of them."],
  ]],
  ["What learns", [
    ["backbone", "Encoder", "Larger ones learn more and take longer. What is already learned comes with EfficientNet-Lite0; for "
      + "ResNet-18 and larger ones it is downloaded."],
    ["image_size", "Image side, pixels", "What the encoder sees. By default chosen by the images' own size; twice the side "
      + "takes four times as long."],
  ]],
  ["The method", [
    ["method", "Method", "AND unless another is chosen; the others are what it is compared with (docs/methods.md)."],
    ["select_rate", "Anchors added each round", "The share of the images, those it is surest of, that each round adds to the "
      + "anchors. {min} to {max}.", 0.01],
    ["neighbours", "Neighbours of an anchor", "How many of its nearest others an anchor is pulled to; many, where the start is "
      + "what was already learned."],
    ["neighbour_loss", "Pulled to", "What counts of an anchor and its neighbours."],
    ["batch_size", "Images a step", "More need more memory and learn in fewer steps."],
    ["learning_rate", "Learning rate of round 0", "Lower it where the page warns of a collapse."],
    ["backbone_rate", "Share of the rate for the encoder", "Of all but its last layer. Small values keep what was already learned; "
      + "up to {max}."],
    ["trained_blocks", "Blocks that learn", "Of the encoder, from its end; the others stay as they began, which is faster. 0: only "
      + "its last layer."],
    ["seed", "Seed", "Decides everything random: the same seed on the same images and the same machine gives the same model."],
  ]],
];
