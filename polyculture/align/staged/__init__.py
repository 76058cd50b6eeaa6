"""Training in stages: curricula, and iterations on judged samples."""
