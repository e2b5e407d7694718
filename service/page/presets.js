// The parameters of a training job that matter most, as docs/presets.md explains them.

export const PRESETS = [
  ["quick", "Quick", "Minutes on a CPU: a small encoder, about 340,000 images of 32 pixels in the first round. To see what a collection holds."],
  ["paper", "Paper", "As published: ResNet-18, five rounds of 200 epochs. For a GPU, and hours."],
  ["released", "Released", "As the authors' code has it: the learning rate falls later and nothing is mirrored. For a GPU, and hours."],
];

const BACKBONES = [["", "by the preset"], ["resnet10", "ResNet-10, small"], ["resnet18", "ResNet-18"], ["resnet34", "ResNet-34"],
  ["resnet50", "ResNet-50"]];

/** name, label, explanation, and what the control allows: an object is a number's bounds, a list a choice. */
export const PARAMETERS = [
  ["rounds", "Rounds", "Round 0 tells all images apart; each later one has more anchors. 1 to 20, by default 5.", { min: 1, max: 20 }],
  ["epochs_first", "Epochs of round 0", "How often every image is seen in the first round. Quick chooses 8 to 60 by the number of images.",
    { min: 1, max: 10000 }],
  ["epochs", "Epochs of each later round", "Quick: a quarter of the first.", { min: 1, max: 10000 }],
  ["select_rate", "Anchors added each round", "The share of the images, those of lowest entropy, that each round adds to the anchors. "
    + "0 to 1, by default 0.25.", { min: 0, max: 1, step: 0.01 }],
  ["neighbours", "Neighbours of an anchor", "How many of its nearest others an anchor is pulled to. By default 1.", { min: 1, max: 100 }],
  ["image_size", "Image side, pixels", "What the encoder sees. By default chosen by the images' own size; larger is slower by its square.",
    { min: 8, max: 512 }],
  ["backbone", "Encoder", "Larger ones learn more and take longer.", BACKBONES],
  ["batch_size", "Images a step", "Quick: 32, otherwise 128.", { min: 4, max: 8192 }],
  ["learning_rate", "Learning rate of round 0", "Quick: 0.015, otherwise 0.03. Lower it where the page warns of a collapse.",
    { min: 0.000001, max: 10, step: "any" }],
  ["seed", "Seed", "Decides everything random: the same seed on the same images and the same machine gives the same model.",
    { min: 0, max: 2147483647 }],
];
