"""What UniGenBench++ asks its judge, in English and in Chinese.

The texts are upstream's to the character, see NOTICE. Source: CodeGoat24/UniGenBench@49d0bcebb0b9,
`eval/src/eval_common.py`. `ENGLISH_NAMES` is ours: which English point a Chinese one is.
"""

# ruff: noqa: E501 - upstream's own line ends and signs

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

_POINTS_EN = {
    "Relationship - Comparison": "Comparison of attributes between two entities",
    "Relationship - Composition": "An entity is composed of one or more other entities",
    "Relationship - Inclusion": "A container contains an entity; the container can also be a plane, e.g., a snake in a painting on a wall",
    "Relationship - Similarity": "Existence of similarities between different entities",
    "Compound - Imagination": "Things that are impossible in real life",
    "Compound - Feature Matching": "Different entities possess different types of attribute features",
    "Attribute - Size": "Assessment of the subject's size, height, length, thickness, width, or tallness/shortness",
    "Attribute - Expression": "Distinguishing expressions from facial actions; expressions must convey a clear emotion",
    "Attribute - Quantity": "Focuses on the challenge of depicting three or more items accurately",
    "Attribute - Material": "Evaluation of different material types and textures",
    "Attribute - Color": "Assessment of different colors",
    "Attribute - Shape": "Assessment of different shapes",
    "Entity Layout - Two-Dimensional Space": "Arrangement and positioning of entities in two-dimensional space",
    "Entity Layout - Three-Dimensional Space": "Arrangement and positioning of entities in three-dimensional space",
    "Action - Full-body (Character/Anthropomorphic)": "Full-body actions by characters or anthropomorphized entities, such as running, diving, breakdancing, swinging, or hanging upside down",
    "Action - Hand (Character/Anthropomorphic)": "Focuses on hand structure—checking if fingers are missing, broken, or distorted",
    "Action - Animal": "Actions performed by animals",
    "Action - Contact Interaction": "Physical interactions between entities",
    "Action - Non-contact Interaction": "For example, two people making eye contact—testing if the model can accurately depict such interactions",
    "Action - State": "A sustained state of an entity, typically expressed with a verb",
    "Grammar - Negation": "Tests the model's understanding of negation grammar",
    "Grammar - Pronoun Reference": "Tests if the model can resolve ambiguous pronoun references correctly",
    "Grammar - Consistency": "Evaluation of shared attributes among entities",
    "World Knowledge": "Covers knowledge of celebrities, architecture, basic domain knowledge, and internet slang. Celebrities with modern copyright risk should be avoided",
    "Style": "Art, painting, photography, design styles, and corresponding artist names",
    "Text Generation": "The text content model needed to accurately generate without any omissions or extra words",
    "Logical Reasoning": "Requires the model to deeply understand the intent and perform reasoning",
}

_POINTS_ZH = {
    "关系-比较关系": "两者的属性对比",
    "关系-构成关系": "一个实体由另一种或几种实体构成",
    "关系-包含关系": "容器对实体的包含关系，容器也可以是平面的，比如：墙上的画里有一只蛇",
    "关系-相似关系": "不同实体中存在的相似关系",
    "复合考点-想象力": "现实生活中不可能发生的事情",
    "复合考点-不同实体特征匹配": "不同实体拥有不同类的属性特征",
    "实体布局-三维空间": "对于三维空间实体的摆放布局",
    "实体布局-二维空间": "对于二维空间实体的摆放布局",
    "属性-大小": "对主体 大小/高低/长短/粗细/宽窄/高矮",
    "属性-表情": "区分表情和脸部动作，脸部动作组成表情，但表情是一定要体现出某种情绪的。",
    "属性-数量": "重点考察三个或三个以上的数字难点",
    "属性-材质": "考察不同材质",
    "属性-颜色": "考察不同颜色",
    "属性-形状": "考察不同形状",
    "动作-人物/拟人全身动作": "人物或拟人全身性的动作，比如奔跑、跳水、跳街舞、荡秋千、倒挂金钩等",
    "动作-人物/拟人手部动作": "针对手部结构的考点，考核手指是否有缺失、崩坏等问题",
    "动作-动物动作": "动物的动作",
    "动作-实体间有接触互动": "各种实体间的有接触互动",
    "动作-实体间无接触互动": "比如两个人对视，考核模型能否把对视关系画对",
    "动作-状态": "实体持续的状态，一般是一个动词。",
    "语法-否定": "考察模型对于否定语法的掌握程度",
    "语法-代词指代": "这里的代词通常是有一些迷惑性的，考察模型能否正确对应",
    "语法-统一性": "实体共同属性的考察",
    "世界知识": "名人、建筑、基础的领域知识、网络流行语。其中名人不要使用当代有版权风险的名人",
    "风格": "艺术、绘画、摄影、设计风格，及对应艺术家名称",
    "逻辑推理": "需要模型深入理解意图并进行一定的推理",
    "文本生成": "考察模型能否准确生成不同语言，字体和长、短文字",
}

ENGLISH_NAMES = {
    "关系-比较关系": "Relationship - Comparison",
    "关系-构成关系": "Relationship - Composition",
    "关系-包含关系": "Relationship - Inclusion",
    "关系-相似关系": "Relationship - Similarity",
    "复合考点-想象力": "Compound - Imagination",
    "复合考点-不同实体特征匹配": "Compound - Feature Matching",
    "实体布局-三维空间": "Entity Layout - Three-Dimensional Space",
    "实体布局-二维空间": "Entity Layout - Two-Dimensional Space",
    "属性-大小": "Attribute - Size",
    "属性-表情": "Attribute - Expression",
    "属性-数量": "Attribute - Quantity",
    "属性-材质": "Attribute - Material",
    "属性-颜色": "Attribute - Color",
    "属性-形状": "Attribute - Shape",
    "动作-人物/拟人全身动作": "Action - Full-body (Character/Anthropomorphic)",
    "动作-人物/拟人手部动作": "Action - Hand (Character/Anthropomorphic)",
    "动作-动物动作": "Action - Animal",
    "动作-实体间有接触互动": "Action - Contact Interaction",
    "动作-实体间无接触互动": "Action - Non-contact Interaction",
    "动作-状态": "Action - State",
    "语法-否定": "Grammar - Negation",
    "语法-代词指代": "Grammar - Pronoun Reference",
    "语法-统一性": "Grammar - Consistency",
    "世界知识": "World Knowledge",
    "风格": "Style",
    "逻辑推理": "Logical Reasoning",
    "文本生成": "Text Generation",
}

_TEMPLATE_EN = """You are a precise and objective English-language image description system. I will provide you with a prompt for image generation, as well as the corresponding generated image. You will be given a set of evaluation criteria (checkpoints) and their explanations that define the relevance between the prompt and the image. You must evaluate whether the generated image fulfills the requirements implied by each checkpoint in the prompt.

            For each image, follow the steps below in order:

            1. The prompt for the generated image is: 「{prompt}」. You are to analyze the image content in detail from the angles specified in {testpoint}. Detailed definitions of these checkpoints are provided here: {explanation}. The specific description of each checkpoint in the context of the prompt is: {test_explanation}. You must analyze whether the image meets the requirements for each checkpoint individually.

            2. Based on the above analysis, determine whether the generated image satisfies each checkpoint in terms of its visual alignment with the prompt. If the image meets the requirements of a checkpoint, assign a score of 1 to that checkpoint; otherwise, assign a score of 0.

            Constraints:
            - Only describe content that is directly visible; do not interpret, speculate, or infer any background story.
            - Focus solely on visually verifiable details.
            - Omit any uncertain or ambiguous elements.
            - Even if mentioned in the input, do not describe abstract entities, emotions, or speculative ideas.

            Please strictly follow the output format below:

            <description>
                <prompt>{prompt}</prompt>
                <checkpoint>{testpoint}</checkpoint>
                <analysis>A list using square brackets `[]`, where each element is a string of detailed analysis corresponding to one checkpoint, as required in Step 1. **Ensure the list length matches the number of checkpoints**. Each element should be a string representing the analysis for that specific checkpoint.</analysis>
                <score>A list using square brackets `[]`, where each element is a binary score (0 or 1) corresponding to a checkpoint, as required in Step 2. **Ensure the list length matches the number of checkpoints**. Each element should be either 0 or 1, indicating whether the checkpoint was satisfied.</score>
            </description>
            """

_TEMPLATE_ZH = """你是一个精确且客观的中文图像描述系统。我会给你一段生成图像的提示词，以及对应的生成图像，同时对于生成图像与提示词之间相关性的考点及对应说明，你需要逐个考点来判断生成的图像是否遵从了提示词中所包含的对应考点要求。

        针对每张图像，你需要按照顺序完成如下的任务：
        1. 这张生成图像对应的提示词为「{prompt}」，你需要根据{testpoint}中的这些角度逐个对图像内容进行更进一步的详细分析，考点的详细说明如下：{explanation}，各个考点在这条prompt中对应的描述说明如下：{test_explanation}, 你需要根据考点逐一判断生成图像是否满足了考点对应的要求
        2. 综合上述回答，你需要逐个考点判断生成的图像在考点关注维度上是否符合输入的prompt，如果满足要求则该考点得分为1，否则为0

        约束条件：
        - 仅描述直接可见的内容；不要进行解读、推测或暗示背景故事。
        - 专注于能够确定性陈述的视觉细节。
        - 省略不确定或不清晰的细节。
        - 即使输入中存在，也不要描述抽象实体、情感或推测。

        请严格遵循以下输出格式：

        <description>
            <prompt>{prompt}</prompt>
            <checkpoint>{testpoint}</checkpoint>
            <analysis>按照步骤1对于给定考点进行逐项详细分析，格式为一个方括号列表，**确保列表的长度与考点的数量相等**，每个元素为一个字符串，表示对于对应考点的分析</analysis>
            <score>按照步骤2逐个对考点进行打分，格式为一个方括号列表，**确保列表的长度与考点的数量相等**，每个元素为0或者1，表示对应考点是否完成</score>
        </description>
        """


class Language(NamedTuple):
    """One language of the prompts.

    Attributes:
        prompt: Column of the prompts.
        facts: Column of what is known about each, as JSON.
        points: Key of the names of the test points.
        descriptions: Key of what each point is in the prompt.
        explanations: What every point means, by its name.
        template: The question, for `str.format`.
        explained: What stands before the meanings.
        described: What stands before the descriptions.
    """

    prompt: str
    facts: str
    points: str
    descriptions: str
    explanations: Mapping[str, str]
    template: str
    explained: str
    described: str

    def question(self, prompt: str, points: Sequence[str], descriptions: Sequence[str]) -> str:
        """What the judge is asked about a picture of a prompt.

        Args:
            prompt: The prompt.
            points: Names of its test points.
            descriptions: What each is in the prompt; at least as many.

        Raises:
            ValueError: for a point that is none.
            IndexError: for fewer descriptions than points.
        """
        unknown = [point for point in points if point not in self.explanations]
        if unknown:
            raise ValueError(f"no test point '{unknown[0]}'")
        meanings = "".join(f"\n{point}: {self.explanations[point]}" for point in points)
        listed = "".join(f"\n{point}: {descriptions[i]}" for i, point in enumerate(points))
        return self.template.format(
            prompt=prompt,
            testpoint=list(points),
            explanation=f"{self.explained}:\u300c{meanings}\n\u300d",
            test_explanation=f"{self.described}:\u300c{listed}\n\u300d",
        )


ENGLISH = Language(
    prompt="prompt_en",
    facts="sub_dims_en",
    points="Testpoints",
    descriptions="Testpoint Description",
    explanations=_POINTS_EN,
    template=_TEMPLATE_EN,
    explained="Checkpoints Defination",
    described="Checkpoints Description",
)
CHINESE = Language(
    prompt="prompt_zh",
    facts="sub_dims_zh",
    points="考点",
    descriptions="考点对应描述",
    explanations=_POINTS_ZH,
    template=_TEMPLATE_ZH,
    explained="考点说明",
    described="考点描述说明",
)
