"""A measurement is neither positive nor negative: results of earlier releases are put right."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # a phenotype with its activity score answers a question, though it has a value and no probability
    op.execute(
        "UPDATE results SET positive = NULL WHERE NOT abstained AND (code = 'vkorc1-genotype' "
        "OR (value IS NOT NULL AND probability IS NULL AND threshold IS NULL AND job_id NOT IN "
        "(SELECT id FROM jobs WHERE model = 'pharmacogenomics')))"
    )
